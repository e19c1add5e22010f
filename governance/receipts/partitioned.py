"""A migration operation: CreateModel whose table is partitioned by UTC day."""

from __future__ import annotations

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import CreateModel
from django.db.migrations.state import ProjectState


class CreateModelByDay(CreateModel):
    """Create the table with `PARTITION BY RANGE (day)`; `cs_make_partitions` adds the days."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.name)
        sql, params = schema_editor.table_sql(model)
        schema_editor.execute(f"{sql} PARTITION BY RANGE (day)", params or None)
        # What CreateModel itself calls; there is no public name for it.
        indexes = schema_editor._model_indexes_sql(model)  # type: ignore[attr-defined]
        schema_editor.deferred_sql.extend(indexes)

    def describe(self) -> str:
        return f"Create model {self.name}, partitioned by day"
