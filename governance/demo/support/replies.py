"""What Kettlewick writes back: one text per intent, and the words its guardrails listen for."""

from __future__ import annotations

from collections.abc import Mapping

HANDOVER = (
    "Thank you for writing to Kettlewick. A colleague will read your message and answer you"
    " personally; we are open Monday to Thursday from 8 to 18, Friday to 17 and Saturday"
    " from 9 to 13."
)
REPLIES: Mapping[str, str] = {
    "delivery_status": (
        "Thank you for your message. Here is what the carrier last told us about your parcel: we"
        " have put the tracking below. If it has not moved within two working days, just reply and"
        " a colleague starts a search."
    ),
    "damaged_or_wrong": (
        "We are sorry that your parcel was not as it should be. Please keep the packaging and"
        " reply with a photo and the order number; we then send the right item within two days."
    ),
    "return_refund": (
        "You can send back anything within 30 days. The return label is below. Once the parcel is"
        " with us a colleague checks it and tells you about the payment within five working days."
    ),
    "invoice_question": (
        "Your invoices are in the portal under Account, Invoices. The latest one is attached. For"
        " a changed name, address, VAT or purchase order number, reply with the exact wording."
    ),
    "payment_problem": (
        "Payments can be retried under Account, Payment methods, where you can also add another"
        " card or your bank account. A second amount that is only reserved disappears by itself"
        " within three working days."
    ),
    "subscription_change": (
        "You can pause, skip or change your box under Subscription until two days before it goes"
        " out. The link below opens your next box."
    ),
    "cancel_subscription": (
        "We are sorry to see you go. You can end your plan with the link below; it takes effect"
        " before the next payment and you get a confirmation by e-mail."
    ),
    "machine_fault": (
        "Please switch the machine off, unplug it for ten minutes and follow the steps for your"
        " model in the guide below. If that does not help, reply with the serial number and we"
        " arrange a repair; the warranty is two years."
    ),
    "app_connection": (
        "Please close the app, hold the Wi-Fi key on the machine for five seconds until it blinks"
        " blue, and pair it again. The guide below shows each step, for new routers too."
    ),
    "login_help": (
        "You can ask for a new sign-in link below; it works for one hour and goes to the address"
        " of your account. After too many attempts the account opens again after 30 minutes."
    ),
    "order_change": (
        "An order can be changed or cancelled until it is packed. The link below opens yours; if"
        " it is packed already, reply and a colleague tries to catch it."
    ),
    "product_advice": (
        "The advice page below compares our machines, grinders and coffees by taste, size and use."
        " Tell us what you like to drink and we gladly suggest something."
    ),
    "office_quote": (
        "Thank you for your interest. Please fill in the short form below (people, floors, cups a"
        " day); our office team answers with an offer within one working day."
    ),
    "voucher_loyalty": (
        "Vouchers and points are under Account, Rewards, together with their conditions and dates."
        " A code goes into the field below the basket and works once."
    ),
}  # fmt: skip

LOOKUPS: Mapping[str, str] = {
    "delivery_status": "look_up_order",
    "order_change": "look_up_order",
    "return_refund": "look_up_order",
    "invoice_question": "look_up_invoice",
    "payment_problem": "look_up_payment",
    "subscription_change": "look_up_subscription",
    "cancel_subscription": "look_up_subscription",
}

FEW_INJECTION_PHRASES = [
    "ignore all previous instructions", "system prompt", "developer mode", "without review",
]  # fmt: skip
INJECTION_PHRASES = [
    "ignore all previous", "ignore all prior", "ignore prev instr", "ignore any rule",
    "ignore prior directions", "ignore the rules", "disregard your guidelines", "disregard all",
    "forget everything you were told", "from now on you answer", "your initial instructions",
    "system prompt", "hidden prompt", "hidden rules", "developer mode", "without restrictions",
    "admin override", "override safety", "override and approve", "without review",
    "skip the guardrails", "your guardrails", "do not escalate", "never escalate", "</system>",
    "assistant:", "ignorierealle", "ignoriere alle", "alle bisherigen anweisungen",
    "ignore toutes les instructions", "ignora tutte le istruzioni", "olvida tus instrucciones",
    "sin restricciones", "alle eerdere instructies", "wartungsmodus", "mode developpeur",
    "issue_refund", "refund limit", "refund_limit", "bypass the approval", "refund granted",
    "language model", "as an ai", "the ai", "api keys", "expected output", "verbatim",
    "toutes les instructions precedentes", "tus instrucciones anteriores",
    "tutte le istruzioni precedenti",
]  # fmt: skip

SENSITIVE_PHRASES = [
    # fraud
    "fraud", "scam", "betrug", "unauthorised", "unauthorized", "not authorised", "stolen card",
    "did not authorise", "without my permission", "sin mi permiso", "frauduleu", "fake invoice",
    # somebody else in the account
    "hacked", "gehackt", "pirate", "hackeado", "hackerato", "compromised", "wasn't me",
    "phishing", "phished", "somebody changed my", "someone changed my",
    # the law
    "lawyer", "solicitor", "attorney", "anwalt", "avocat", "abogado", "advocaat", "avvocato",
    "legal action", "court", "gdpr", "ombudsman", "tribunal", "formal complaint", "i will sue",
    "breach of contract",
    # harm
    "burned", "burnt", "burns", "scald", "electric shock", "caught fire", "hospital", "injured",
    "exploded", "verbrannt", "stromschlag", "brule", "queme", "verbrand", "ustionato", "bruciato",
    "smoke", "allergic reaction",
    # death
    "passed away", "died", "deceased", "death", "late husband", "late wife", "late father",
    "verstorben", "gestorben", "decede", "deces", "fallecio", "fallecido", "overleden", "deceduta",
]  # fmt: skip

CAREFUL_WORDS = [
    "unacceptable", "disappointed", "third time", "again", "urgent", "immediately", "still",
    "no one", "nobody", "ridiculous", "disgrace", "!!",
]  # fmt: skip


def reply_for(label: str) -> str:
    """Return the text for an intent; other people's intents get a plain one that names it."""
    words = label.replace("_", " ").strip(" ?")
    return REPLIES.get(label) or (
        f"Thank you for your message. We understand that it is about: {words}. The help page"
        " below answers it step by step; reply to this mail and a colleague reads it."
    )
