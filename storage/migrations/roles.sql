-- Least privilege, for login roles to be members of: tidegate_engine writes membership, tidegate_reader
-- reads it. Run after every migration: says the whole of the rights again, for new tables too.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['tidegate_engine', 'tidegate_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- made at the same moment for another database of this server
            END;
        END IF;
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA tidegate TO tidegate_engine, tidegate_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA tidegate TO tidegate_engine;
GRANT INSERT, UPDATE, DELETE ON tidegate.engine, tidegate.definitions, tidegate.members, tidegate.member_counts,
    tidegate.users, tidegate.outbox, tidegate.relay, tidegate.shards, tidegate.steps TO tidegate_engine;
GRANT INSERT ON tidegate.definition_versions TO tidegate_engine;
GRANT INSERT, UPDATE ON tidegate.deployments TO tidegate_engine;
GRANT INSERT, DELETE ON tidegate.transitions, tidegate.dead_letters TO tidegate_engine;
GRANT INSERT, UPDATE ON tidegate.erasures TO tidegate_engine;
GRANT UPDATE (replayed_at, replayed_topic, replayed_partition, replayed_offset) ON tidegate.dead_letters
    TO tidegate_engine;
GRANT INSERT, UPDATE, DELETE ON tidegate.audit, tidegate.audit_mismatches, tidegate.segment_costs, tidegate.pruned
    TO tidegate_engine;

GRANT INSERT, UPDATE, DELETE ON tidegate.holds, tidegate.held_flips, tidegate.guard_counts, tidegate.seq_shifts
    TO tidegate_engine;

GRANT SELECT ON tidegate.engine, tidegate.definitions, tidegate.members, tidegate.member_counts, tidegate.users,
    tidegate.transitions, tidegate.shards, tidegate.deployments, tidegate.schema_migrations, tidegate.erasures,
    tidegate.users_now, tidegate.log, tidegate.pruned, tidegate.holds, tidegate.held_flips TO tidegate_reader;

GRANT SELECT ON public.segments, public.segment_members, public.segment_transitions
    TO tidegate_engine, tidegate_reader;
