-- Which region enacts for a tenant: its home, with a term that only grows; and the regions' leases.
--
-- In the arbiter's database, or, where there is no arbiter, in each region's own. Nobody but this
-- schema's owner writes a table: regions call functions, which keep what must hold. No clock of the
-- server decides anything: a lease is a number that its region raises, and whoever has seen the same
-- number for long enough, by a clock of its own, may take over (`enact/homes.py`). `renewed_at` and
-- `moved_at` are for people.

CREATE SCHEMA IF NOT EXISTS mc_home;

CREATE TABLE mc_home.lease (
    region      text PRIMARY KEY CHECK (region ~ '^[a-z][a-z0-9-]{0,30}$'),
    renewals    bigint NOT NULL CHECK (renewals > 0),
    renewed_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- `bound_for`: the home gives it up, and nobody has it until that region has taken it
CREATE TABLE mc_home.home (
    tenant      text PRIMARY KEY CHECK (length(tenant) BETWEEN 1 AND 64),
    region      text NOT NULL,
    term        bigint NOT NULL CHECK (term > 0),
    bound_for   text,
    principal   text NOT NULL,
    reason      text NOT NULL,
    moved_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Every move that was, so that people can ask who decided it
CREATE TABLE mc_home.move (
    tenant      text NOT NULL,
    term        bigint NOT NULL,
    from_region text,
    to_region   text NOT NULL,
    principal   text NOT NULL,
    reason      text NOT NULL,
    moved_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, term)
);

-- Raised with each change of a home: who has read that number has read the homes
CREATE TABLE mc_home.version (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    changes     bigint NOT NULL
);
INSERT INTO mc_home.version (changes) VALUES (1) ON CONFLICT DO NOTHING;

CREATE FUNCTION mc_home.keep_term() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.tenant <> OLD.tenant OR NEW.term < OLD.term
        OR (NEW.term = OLD.term AND NEW.region <> OLD.region) THEN
        RAISE EXCEPTION 'the term of % does not go back', OLD.tenant;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_term BEFORE UPDATE OR DELETE ON mc_home.home
    FOR EACH ROW EXECUTE FUNCTION mc_home.keep_term();

CREATE FUNCTION mc_home.note_move() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE mc_home.version SET changes = changes + 1;
    IF TG_OP = 'INSERT' OR NEW.term > OLD.term THEN
        INSERT INTO mc_home.move (tenant, term, from_region, to_region, principal, reason)
        VALUES (NEW.tenant, NEW.term, CASE WHEN TG_OP = 'UPDATE' THEN OLD.region END, NEW.region,
            NEW.principal, NEW.reason);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note_move AFTER INSERT OR UPDATE ON mc_home.home
    FOR EACH ROW EXECUTE FUNCTION mc_home.note_move();

-- All leases, and the homes unless `known` is the number that they have
CREATE FUNCTION mc_home.look(known bigint) RETURNS jsonb LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    now_changes bigint := (SELECT changes FROM mc_home.version);
BEGIN
    RETURN jsonb_build_object(
        'changes', now_changes,
        'leases', (SELECT coalesce(jsonb_object_agg(region, renewals), '{}') FROM mc_home.lease),
        'homes', CASE WHEN now_changes IS DISTINCT FROM known THEN (
            SELECT coalesce(jsonb_object_agg(h.tenant, jsonb_build_object('region', h.region,
                'term', h.term, 'bound_for', h.bound_for, 'principal', h.principal,
                'reason', h.reason, 'from_region', m.from_region)), '{}')
            FROM mc_home.home h JOIN mc_home.move m ON m.tenant = h.tenant AND m.term = h.term)
        END);
END $$;

-- Raises the region's lease, makes it the home of those of `tenants` that have none, and looks.
-- The look comes behind the lease's lock and with a snapshot of its own: whoever took over before
-- this renewal is seen by it, and who comes after it finds another number.
CREATE FUNCTION mc_home.renew(by_region text, tenants text[], known bigint) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO mc_home.lease AS l (region, renewals) VALUES (by_region, 1)
    ON CONFLICT (region) DO UPDATE SET renewals = l.renewals + 1, renewed_at = clock_timestamp();
    IF cardinality(tenants) > 0 THEN
        INSERT INTO mc_home.home (tenant, region, term, principal, reason)
        SELECT t, by_region, 1, 'arbiter', 'first region of the tenant' FROM unnest(tenants) AS t
        ON CONFLICT (tenant) DO NOTHING;
    END IF;
    RETURN mc_home.look(known);
END $$;

-- Makes a region the home of all tenants of another one, if that has not renewed since; how many
CREATE FUNCTION mc_home.take_over(by_region text, lapsed text, seen bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    taken bigint := 0;
BEGIN
    IF by_region = lapsed THEN
        RETURN 0;
    END IF;
    PERFORM FROM mc_home.lease WHERE region = lapsed AND renewals = seen FOR NO KEY UPDATE;
    IF FOUND THEN
        UPDATE mc_home.home SET region = by_region, term = term + 1, bound_for = NULL,
            principal = 'arbiter', reason = 'the lease of ' || lapsed || ' lapsed',
            moved_at = clock_timestamp()
        WHERE region = lapsed;
        GET DIAGNOSTICS taken = ROW_COUNT;
    END IF;
    RETURN taken;
END $$;

-- Takes a home away from its region, which stops when it learns of it; a person's decision
CREATE FUNCTION mc_home.release(of_tenant text, held_term bigint, target text, who text, why text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE mc_home.home SET bound_for = target, principal = who, reason = why
    WHERE tenant = of_tenant AND term = held_term AND bound_for IS DISTINCT FROM target
        AND (region <> target OR bound_for IS NOT NULL);
    RETURN FOUND;
END $$;

-- Makes a region the home of a tenant that was released for it
CREATE FUNCTION mc_home.claim(of_tenant text, by_region text, held_term bigint)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE mc_home.home SET region = by_region, term = term + 1, bound_for = NULL,
        moved_at = clock_timestamp()
    WHERE tenant = of_tenant AND term = held_term AND bound_for = by_region;
    RETURN FOUND;
END $$;

DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'mc_home'::regnamespace
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
    END LOOP;
END $$;
