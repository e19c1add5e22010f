#!/usr/bin/env python3
"""Check an evidence pack of Countersign, offline, with nothing but Python 3.9 or newer.

    python3 -I verify.py                     the pack that this file was unpacked from
    python3 -I verify.py PACK.zip            a pack that is still one file
    python3 -I verify.py … --key KEY.pem     trust only checkpoints of this public key

Exit code 0: everything holds. 1: something does not, and is named. 2: nothing is wrong, but
something could not be checked. It is one file, because it must be readable and runnable alone.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile, ZipFile

VALID, BROKEN, INCOMPLETE = 0, 1, 2
AUDIT_DOMAIN = b"countersign.audit.v1\0"
MANIFEST = "manifest.json"
NAMED_BY_DIGEST = ("releases", "components", "gate-reports", "gate-policies", "signatures")
SLOTS_VERSION = "countersign.release.v1"
AT_ONCE = 1 << 20


class Pack:
    """The files of a pack, in a folder or in one ZIP file."""

    def __init__(self, place: Path) -> None:
        self._zip = None if place.is_dir() else ZipFile(place)
        self._place = place

    def names(self) -> list[str]:
        if self._zip is not None:
            return sorted(name for name in self._zip.namelist() if not name.endswith("/"))
        return sorted(
            path.relative_to(self._place).as_posix()
            for path in self._place.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        )

    def open(self, name: str) -> BinaryIO:
        if self._zip is not None:
            return self._zip.open(name)  # type: ignore[return-value]
        return (self._place / name).open("rb")

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read()

    def text(self, name: str) -> str:
        return self.read(name).decode("utf-8")

    def json(self, name: str) -> Any:
        return json.loads(self.text(name))

    def lines(self, name: str) -> Iterator[Any]:
        with self.open(name) as file:
            for line in file:
                yield json.loads(line)


class Report:
    """What was found, one sentence per check."""

    def __init__(self) -> None:
        self.broken = 0
        self.unchecked = 0

    def ok(self, sentence: str) -> None:
        print("ok    " + sentence)

    def bad(self, sentence: str) -> None:
        self.broken += 1
        print("BAD   " + sentence)

    def cannot(self, sentence: str) -> None:
        self.unchecked += 1
        print("?     " + sentence)

    def said(self, good: str, faults: list[str]) -> None:
        """Say what holds, or each place where it does not."""
        for fault in faults[:50]:
            self.bad(fault)
        if len(faults) > 50:
            self.bad("and %s more of this kind" % (len(faults) - 50))
        if not faults:
            self.ok(good)


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def sha256_of(file: BinaryIO) -> tuple[str, int]:
    found, size = hashlib.sha256(), 0
    while True:
        part = file.read(AT_ONCE)
        if not part:
            return "sha256:" + found.hexdigest(), size
        found.update(part)
        size += len(part)


def canonical(value: Any) -> bytes:
    """Canonical JSON (RFC 8785) of what a manifest holds: texts, whole numbers, truth values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


# ------------------------------------------------------------------ the files themselves


def check_files(pack: Pack, report: Report) -> dict[str, Any] | None:
    """Every file is what the manifest says, and there is no other."""
    try:
        manifest = pack.json(MANIFEST)
        listed = {file["path"]: file for file in manifest["files"]}
        said = {key: value for key, value in manifest.items() if key != "digest"}
        named = manifest["digest"]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        report.bad(f"{MANIFEST}: cannot be read ({error})")
        return None
    if sha256(canonical(said)) != named:
        report.bad(f"{MANIFEST}: is not what its own digest says")
        return None
    faults = []
    present = set(pack.names()) - {MANIFEST}
    for name in sorted(set(listed) - present):
        faults.append(f"{name}: is missing")
    for name in sorted(present - set(listed)):
        faults.append(f"{name}: is not in the manifest")
    for name in sorted(present & set(listed)):
        try:
            with pack.open(name) as file:
                digest, size = sha256_of(file)
        except (OSError, BadZipFile) as error:
            faults.append(f"{name}: cannot be read ({error})")
            continue
        if digest != listed[name]["sha256"] or size != listed[name]["bytes"]:
            faults.append(f"{name}: is not the file that the manifest names")
    report.said(f"{len(listed)} files are what the manifest says, and there is no other.", faults)
    print(f"      The manifest has the digest {named}.")
    return dict(manifest)


def check_names(pack: Pack, report: Report) -> None:
    """What is stored by its digest has that digest."""
    faults, count = [], 0
    for name in pack.names():
        folder, _, file = name.partition("/")
        if folder not in NAMED_BY_DIGEST:
            continue
        count += 1
        with pack.open(name) as stream:
            digest, _ = sha256_of(stream)
        if digest != "sha256:" + file[: -len(".json")]:
            faults.append(f"{name}: its bytes are not what its name, a digest, says")
    report.said(
        f"{count} releases, components, gate reports, policies and signatures have the digests that"
        " name them.",
        faults,
    )


def check_releases(pack: Pack, report: Report) -> None:
    """Every release is here with every component that it declares."""
    names = set(pack.names())
    faults, count = [], 0
    for name in sorted(names):
        if not name.startswith("releases/"):
            continue
        count += 1
        manifest = pack.json(name)
        if manifest.get("v") != SLOTS_VERSION:
            faults.append(f"{name}: is no release manifest")
            continue
        for slot, digest in manifest["slots"].items():
            if digest is None:
                continue
            path = by_digest("components", digest)
            if path not in names:
                faults.append(f"{name}: names a {slot} that is not in the pack")
            elif pack.json(path).get("slot") != slot:
                faults.append(f"{path}: is not a {slot}, as {name} says")
    report.said(f"{count} releases are complete: every declared component is in the pack.", faults)


def by_digest(folder: str, digest: str) -> str:
    return "{}/{}.json".format(folder, digest.replace("sha256:", ""))


# ------------------------------------------------------------------ the audit chain


class Events:
    """The audit events of the pack, and what the other checks look up in them."""

    def __init__(self) -> None:
        self.hashes: dict[int, str] = {}
        self.prevs: dict[int, str] = {}
        self.signatures: set[str] = set()  # named by an event as its reference
        self.moments: set[tuple[str, str]] = set()  # (actor's id, when)
        self.told: dict[int, tuple[str, str, Any, str, str]] = {}  # of live changes
        self.judged: set[str] = set()  # gate reports
        self.registered: set[str] = set()  # releases


MOVES = {
    "promotion.adopted", "promotion.went_live", "rollback.done", "pilot.opened", "pilot.widened",
    "pilot.stopped", "workflow.switched_off", "workflow.switched_on", "drill.started",
    "drill.returned",
}  # fmt: skip


def check_events(pack: Pack, report: Report) -> Events:
    """Every event is what was hashed, and follows the one before it where that one is here."""
    events, faults, links = Events(), [], 0
    name = "audit/events.jsonl"
    for line in pack.lines(name):
        seq, said, text = line["seq"], line["hash"], line["body"]
        if sha256(AUDIT_DOMAIN + text.encode("utf-8")) != said:
            faults.append(f"{name}: event {seq} is not what was hashed")
            continue
        body = json.loads(text)
        if body["seq"] != seq:
            faults.append("{}: event {} says that it is event {}".format(name, seq, body["seq"]))
            continue
        before = events.hashes.get(seq - 1)
        if before is not None:
            links += 1
            if before != body["prev"]:
                faults.append(f"{name}: event {seq} does not link to the one before it")
        events.hashes[seq], events.prevs[seq] = said, body["prev"]
        note(events, seq, body)
    report.said(
        f"{len(events.hashes)} audit events are what was hashed; {links} of them link to the one"
        " before them, which is in the pack too.",
        faults,
    )
    return events


def note(events: Events, seq: int, body: dict[str, Any]) -> None:
    """Keep of an event what is compared with the files."""
    verb, thing = body["verb"], body["object"]
    signature = body["references"].get("signature")
    if signature:
        events.signatures.add(signature)
    if verb in ("standing.signed",):
        events.signatures.add(thing["digest"])
    events.moments.add((body["actor"]["id"], body["occurred_at"]))
    if verb in MOVES:
        number = body["details"].get("seq")
        events.told[seq] = (verb, body["workflow"], number, thing["id"], body["after"])
    elif verb == "gate.judged":
        events.judged.add(thing["digest"])
    elif verb == "release.registered":
        events.registered.add(thing["digest"])


def check_proofs(pack: Pack, events: Events, report: Report, key: bytes | None) -> None:
    """The events are under the root of a signed checkpoint."""
    checkpoints = check_checkpoints(pack, report, key)
    proved: set[int] = set()
    faults = []
    name = "audit/proofs.jsonl"
    for proof in pack.lines(name):
        seq, number = proof["seq"], proof["checkpoint"]
        signed = checkpoints.get(number)
        if signed is None:
            faults.append(f"{name}: the proof of event {seq} names no checkpoint here")
        elif (proof["root"], proof["tree_size"]) != (signed["root"], signed["tree_size"]):
            faults.append(f"{name}: the proof of event {seq} is of another root")
        elif proof["event_hash"] != events.hashes.get(seq):
            faults.append(f"{name}: the proof of event {seq} is of another event")
        elif not leads_to_root(proof):
            faults.append(f"{name}: the path of event {seq} does not lead to the root")
        else:
            proved.add(seq)
    # An event names the hash of the one before it, so its proof is a proof of that one too.
    for seq in sorted(events.hashes, reverse=True):
        if seq + 1 in proved and events.prevs.get(seq + 1) == events.hashes[seq]:
            proved.add(seq)
    missing = sorted(set(events.hashes) - proved)
    report.said(
        f"{len(proved)} of {len(events.hashes)} audit events are under the root of a signed"
        " checkpoint.",
        faults,
    )
    if missing and not faults:
        report.cannot(
            f"{len(missing)} audit events, the first is event {missing[0]}, are under no checkpoint"
            " of this pack: only their links stand for them."
        )


def leads_to_root(proof: dict[str, Any]) -> bool:
    """RFC 9162 section 2.1.3.2, which gives the same answers as RFC 6962."""
    index, size = proof["seq"] - 1, proof["tree_size"]
    if not 0 <= index < size:
        return False
    node, last = index, size - 1
    found = hashlib.sha256(b"\0" + raw(proof["event_hash"])).digest()
    for text in proof["path"]:
        sibling = bytes.fromhex(text)
        if last == 0:
            return False
        if node & 1 or node == last:
            found = hashlib.sha256(b"\1" + sibling + found).digest()
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            found = hashlib.sha256(b"\1" + found + sibling).digest()
        node >>= 1
        last >>= 1
    return last == 0 and found == raw(proof["root"])


def raw(digest: str) -> bytes:
    return bytes.fromhex(digest.replace("sha256:", ""))


def check_checkpoints(pack: Pack, report: Report, key: bytes | None) -> dict[int, dict[str, Any]]:
    """Every checkpoint is signed, and names the one before it where that one is here."""
    found: dict[int, dict[str, Any]] = {}
    digests: dict[int, str] = {}
    keys: set[str] = set()
    faults: list[str] = []
    for name in pack.names():
        if not name.startswith("audit/checkpoints/"):
            continue
        file = pack.json(name)
        text = file["checkpoint"]
        said = json.loads(text)
        number = said["number"]
        try:
            public = public_key(file["public_key"])
        except ValueError:
            faults.append(f"{name}: holds no Ed25519 key")
            continue
        keys.add(sha256(public))
        if sha256(text.encode()) != file["digest"]:
            faults.append(f"{name}: its text is not what its digest says")
        elif sha256(public) != said["key_id"]:
            faults.append(f"{name}: names another key than it holds")
        elif key is not None and public != key:
            faults.append(f"{name}: is signed by another key than the one you trust")
        elif not is_signed(public[-32:], text.encode(), base64.b64decode(file["signature"])):
            faults.append(f"{name}: its signature is not of its key")
        elif number - 1 in digests and said["previous"] != digests[number - 1]:
            faults.append(f"{name}: does not follow the checkpoint before it")
        else:
            found[number], digests[number] = said, file["digest"]
    if not found and not faults:
        report.cannot("No checkpoint covers this pack: a rewritten chain would not show in it.")
        return found
    report.said(f"{len(found)} checkpoints carry the signature of their key.", faults)
    if key is None and found:
        print(
            "      Trusted is the key in the pack: {}. Compare it with the one you were given, or"
            " give that one with --key.".format(", ".join(sorted(keys)))
        )
    return found


# ------------------------------------------------------------------ decisions and changes


def check_decisions(pack: Pack, events: Events, report: Report) -> None:
    """Every decision is signed, holds for the digests of its promotion, and is in the chain."""
    names = set(pack.names())
    faults: list[str] = []
    count = 0
    for name in sorted(names):
        if not (name.startswith("promotions/") and name.endswith("/decisions.json")):
            continue
        folder = name.rsplit("/", 1)[0]
        promotion = pack.json(folder + "/promotion.json")
        faults.extend(check_evidence(pack, names, folder, promotion, events))
        for decision in pack.json(name):
            count += 1
            for fault in decision_faults(pack, names, promotion, decision, events):
                faults.append(
                    "{}: the decision of {} {}".format(name, decision["approver_label"], fault)
                )
    report.said(
        f"{count} decisions are signed, hold for the digests of their promotion, and stand in the"
        " audit chain.",
        faults,
    )


def decision_faults(
    pack: Pack,
    names: set[str],
    promotion: dict[str, Any],
    decision: dict[str, Any],
    events: Events,
) -> Iterator[str]:
    if not decision["signature"]:
        yield "is not signed"
        return
    path = by_digest("signatures", decision["signature"])
    if path not in names:
        yield "names a signature that is not in the pack"
        return
    signed = pack.json(path)
    subject = signed["subject"]
    for field in (
        "decision", "candidate_digest", "base_digest", "gate_report_digest", "gate_policy_digest",
    ):  # fmt: skip
        if subject.get(field) != decision[field]:
            yield f"says another {field} than was signed"
    for folder, field in (
        ("gate-reports", "gate_report_digest"), ("gate-policies", "gate_policy_digest"),
    ):  # fmt: skip
        if decision[field] and by_digest(folder, decision[field]) not in names:
            yield f"stands on something of {folder} that is not in the pack"
    if (subject.get("type"), subject.get("id")) != ("promotion", str(promotion["id"])):
        yield "was signed for something else"
    if subject.get("round") != decision["review_round"]:
        yield "was signed in another round"
    pairs = (
        (signed["signer"]["label"], decision["approver_label"], "person"),
        (signed["meaning"], decision["meaning"], "meaning"),
        (signed["reason"], decision["reason"], "reason"),
        (signed["on_behalf_of"], decision["on_behalf_of"], "person behind it"),
        (signed["authenticated"]["by"], decision["authenticated_by"], "proof of identity"),
    )
    for mine, theirs, what in pairs:
        if mine != theirs:
            yield f"names another {what} than the signature"
    if decision["candidate_digest"] != promotion["candidate"]["digest"]:
        yield "holds for another release"
    moment = (signed["signer"]["id"], signed["signed_at"])
    if decision["signature"] not in events.signatures and moment not in events.moments:
        yield "is in no audit event of the pack"


def check_evidence(
    pack: Pack, names: set[str], folder: str, promotion: dict[str, Any], events: Events
) -> Iterator[str]:
    """Releases, report, policy and runs of a promotion belong together."""
    name = folder + "/promotion.json"
    base = promotion["base"]
    wanted = [("releases", promotion["candidate"]["digest"])]
    if base:
        wanted.append(("releases", base["digest"]))
    for kind, digest in (
        *wanted,
        ("gate-reports", promotion["gate_report"]),
        ("gate-policies", promotion["gate_policy"]),
    ):
        if digest and by_digest(kind, digest) not in names:
            yield f"{name}: names a file of {kind} that is not in the pack"
    for _, digest in wanted:
        if digest not in events.registered:
            yield f"{name}: no audit event of the pack registered the release {digest}"
    if not promotion["gate_report"]:
        return
    path = by_digest("gate-reports", promotion["gate_report"])
    if path not in names:
        return
    gate = pack.json(path)
    if gate["candidate"] != promotion["candidate"]["digest"]:
        yield f"{path}: judges another release than {name}"
    if gate["base"] != (base["digest"] if base else None):
        yield f"{path}: compares with another release than {name}"
    if gate["policy"] != promotion["gate_policy"]:
        yield f"{path}: was judged by another policy than {name} says"
    if gate["verdict"] != promotion["gate_verdict"]:
        yield f"{path}: {name} says another verdict"
    if promotion["gate_report"] not in events.judged:
        yield f"{path}: is in no audit event of the pack"
    runs = {run["id"]: run for run in pack.json(folder + "/eval-runs.json")}
    for judged in gate["runs"]:
        run = runs.get(judged["id"])
        if run is None:
            yield "{}/eval-runs.json: lacks run {} that the gate judged".format(
                folder, judged["id"]
            )
        elif run["summary"].get("digest") != judged["digest"]:
            yield "{}/eval-runs.json: run {} is not what the gate judged".format(
                folder, judged["id"]
            )


def check_changes(pack: Pack, events: Events, report: Report, whole: bool) -> None:
    """Each change of what was live follows on the one before, and is told by its audit event."""
    name = "live-changes.json"
    faults: list[str] = []
    last: dict[str, dict[str, Any]] = {}
    changes = pack.json(name)
    for change in changes:
        what = "change {} of {}".format(change["seq"], change["workflow"])
        before = last.get(change["workflow"])
        if before is not None:
            if whole and change["seq"] != before["seq"] + 1:
                faults.append(
                    "{}: {} does not follow on change {}".format(name, what, before["seq"])
                )
            elif change["seq"] == before["seq"] + 1 and change["from"] != before["to"]:
                faults.append(f"{name}: {what} begins elsewhere than the one before ended")
        last[change["workflow"]] = change
        told = events.told.get(change["audit_event"])
        if told is None:
            faults.append(f"{name}: {what} is told by no audit event of the pack")
            continue
        verb, workflow, seq, thing, after = told
        same = workflow == change["workflow"] and verb == change["audit_verb"]
        if seq is not None:
            same = same and seq == change["seq"]
        else:
            same = same and thing == str(change["promotion"])
        if verb in ("promotion.went_live", "promotion.adopted", "rollback.done"):
            same = same and after == change["to"]
        if not same:
            faults.append(
                "{}: event {} tells something else than {}".format(
                    name, change["audit_event"], what
                )
            )
    if whole:
        faults.extend(
            f"population.json: {fault}"
            for workflow in pack.json("population.json")["workflows"]
            for fault in workflow["faults"]
        )
    report.said(
        "{} changes of what was live{} are told by their audit events.".format(
            len(changes), " follow on each other without a gap, and" if whole else ""
        ),
        faults,
    )


# ------------------------------------------------------------------ Ed25519 (RFC 8032, section 6)

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)
PEM_HEAD = bytes.fromhex("302a300506032b6570032100")
Point = tuple[int, int, int, int]


def add(a: Point, b: Point) -> Point:
    x = (a[1] - a[0]) * (b[1] - b[0]) % P
    y = (a[1] + a[0]) * (b[1] + b[0]) % P
    t = 2 * a[3] * b[3] * D % P
    z = 2 * a[2] * b[2] % P
    e, f, g, h = y - x, z - t, z + t, y + x
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(count: int, point: Point) -> Point:
    total: Point = (0, 1, 1, 0)
    while count:
        if count & 1:
            total = add(total, point)
        point = add(point, point)
        count >>= 1
    return total


def same_point(a: Point, b: Point) -> bool:
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point_of(data: bytes) -> Point | None:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


_y = 4 * pow(5, P - 2, P) % P
BASE = point_of(_y.to_bytes(32, "little"))


def is_signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is of this key over the message."""
    if len(public) != 32 or len(signature) != 64 or BASE is None:
        return False
    key, start = point_of(public), point_of(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or start is None or scalar >= Q:
        return False
    mixed = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(mixed, "little") % Q
    return same_point(times(scalar, BASE), add(start, times(challenge, key)))


def public_key(pem: str) -> bytes:
    """The DER bytes of an Ed25519 public key in PEM form."""
    lines = [line.strip() for line in pem.strip().splitlines()]
    if len(lines) < 3 or lines[0] != "-----BEGIN PUBLIC KEY-----":
        raise ValueError("not a public key in PEM form")
    der = base64.b64decode("".join(lines[1:-1]), validate=True)
    if len(der) != 44 or not der.startswith(PEM_HEAD):
        raise ValueError("not an Ed25519 key")
    return der


# ------------------------------------------------------------------ all together


def check(place: Path, key: bytes | None) -> int:
    """Do every check; return the exit code."""
    report = Report()
    try:
        pack = Pack(place)
        names = pack.names()
    except (OSError, BadZipFile) as error:
        report.bad(f"{place}: cannot be opened ({error})")
        return BROKEN
    if place.is_file():
        with place.open("rb") as file:
            print(f"      The pack has the SHA-256 {sha256_of(file)[0]}.")
    if MANIFEST not in names:
        report.bad(f"{MANIFEST}: is missing, so this is no evidence pack")
        return BROKEN
    manifest = check_files(pack, report)
    if manifest is None or report.broken:
        print("\nNot valid: the files are not those that were packed. Nothing else was looked at.")
        return BROKEN
    whole = manifest["subject"].get("kind") == "period"
    events = Events()

    def chain() -> None:
        nonlocal events
        events = check_events(pack, report)

    steps: list[tuple[str, Callable[[], None]]] = [
        ("the digests", lambda: check_names(pack, report)),
        ("the releases", lambda: check_releases(pack, report)),
        ("the audit events", chain),
        ("the proofs", lambda: check_proofs(pack, events, report, key)),
        ("the decisions", lambda: check_decisions(pack, events, report)),
        ("the changes", lambda: check_changes(pack, events, report, whole)),
    ]
    for what, step in steps:
        try:
            step()
        except (KeyError, ValueError, TypeError, AttributeError, IndexError, OSError) as error:
            report.bad(f"{what}: cannot be read as they should be ({error!r})")
    return verdict(report)


def verdict(report: Report) -> int:
    if report.broken:
        print(f"\nNot valid: {report.broken} places do not hold.")
        return BROKEN
    if report.unchecked:
        print(
            f"\nIncomplete: nothing is wrong, but {report.unchecked} things could not be checked."
        )
        return INCOMPLETE
    print("\nValid: everything in this pack holds.")
    return VALID


def main() -> int:
    parser = argparse.ArgumentParser(description="Check an evidence pack of Countersign, offline.")
    parser.add_argument("pack", nargs="?", help="a folder or ZIP file; by default this folder")
    parser.add_argument("--key", help="PEM file of the public key that you trust")
    asked = parser.parse_args()
    key = None
    if asked.key:
        try:
            key = public_key(Path(asked.key).read_text())
        except (OSError, ValueError) as error:
            print(f"The key cannot be read: {error}")
            return INCOMPLETE
    return check(Path(asked.pack) if asked.pack else Path(__file__).resolve().parent, key)


if __name__ == "__main__":
    sys.exit(main())
