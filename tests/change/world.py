"""What the proof runs on: that of the torture, which also notes what the database had at every switch."""

from tests.change.edits import FIRST, SCHEMA, SCHEMA_FILE
from tests.torture.world import World

#: Run at the end of the transaction that makes a version the valid one, with all that it has written.
SWITCHES = """
    CREATE SCHEMA change;
    CREATE TABLE change.steps (version integer, shard integer, step bigint);
    CREATE TABLE change.members (version integer, segment text, user_id text);
    CREATE TABLE change.flips (version integer, segment text, user_id text, entered boolean);
    CREATE FUNCTION change.switched() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO change.steps SELECT NEW.version, shard, step FROM tidegate.shards;
            INSERT INTO change.members SELECT NEW.version, segment, user_id FROM public.segment_members;
            INSERT INTO change.flips
                SELECT NEW.version, d.name, t.user_id, t.entered
                FROM tidegate.transitions t JOIN tidegate.definitions d ON d.id = t.segment_id
                WHERE t.xmin = pg_current_xact_id()::xid;
            RETURN NULL;
        END
    $$;
    CREATE CONSTRAINT TRIGGER switched AFTER UPDATE ON tidegate.deployments DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.state = 'complete' AND OLD.state <> 'complete') EXECUTE FUNCTION change.switched();
"""


class ChangingWorld(World):
    def __enter__(self) -> "ChangingWorld":
        super().__enter__()
        self.write(FIRST, "definitions")
        self.query(SWITCHES)
        return self

    def write(self, texts: dict[str, str], name: str) -> None:
        """A folder of definitions; its schema is the torture's, where texts has no other."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for old in folder.glob("*.sql"):
            old.unlink()
        (folder / SCHEMA_FILE).write_text(texts.get(SCHEMA_FILE, SCHEMA))
        for segment, text in texts.items():
            if segment != SCHEMA_FILE:
                (folder / f"{segment}.sql").write_text(text)

    def environment(self, **more: str) -> dict[str, str]:
        """Events are kept: some definitions look back to the beginning."""
        return super().environment(TIDEGATE_RETENTION="86400", TIDEGATE_GUARD_OUTAGE="0", **more)
