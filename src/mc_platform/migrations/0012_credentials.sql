-- Credentials end and are limited; whatever changes them is told to the ledger, whoever does it.

ALTER TABLE mc.credential
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN scopes text[],  -- NULL: all that the role has
    ADD COLUMN origin text NOT NULL DEFAULT 'import' CHECK (origin IN ('import', 'administrator')),
    ADD COLUMN revoked_by text; -- an administrator; NULL: an import, which may take it back

ALTER TABLE mc.credential
    DROP CONSTRAINT credential_role_check,
    ADD CONSTRAINT credential_role_check
        CHECK (role IN ('agent', 'operator', 'auditor', 'alertmanager', 'administrator'));

-- What changed in credentials, policy set and catalogue: told to the ledger from here, so that a
-- change is never there without its event. `digest` and `held` are those of sets.
CREATE TABLE mc.rule_change (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    number      bigint GENERATED ALWAYS AS IDENTITY,
    kind        text NOT NULL CHECK (kind IN ('credential', 'policy_set', 'catalogue')),
    region      text NOT NULL,
    detail      json NOT NULL,
    digest      text,
    held        json,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    recorded_at timestamptz
);
CREATE INDEX rule_change_untold ON mc.rule_change (number) WHERE recorded_at IS NULL;
CREATE INDEX rule_change_newest ON mc.rule_change (kind, region, number DESC);

-- Who said beforehand which set comes into force, and why.
CREATE TABLE mc.rule_declaration (
    id        uuid PRIMARY KEY,
    kind      text NOT NULL CHECK (kind IN ('policy_set', 'catalogue')),
    digest    text NOT NULL CHECK (digest <> ''),
    principal text NOT NULL CHECK (principal <> ''),
    reason    text NOT NULL CHECK (reason <> ''),
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX rule_declaration_of ON mc.rule_declaration (kind, digest, at DESC);

-- `mc.change` is set by whoever changes credentials: who, why, by which decision. A change without
-- it was made by hand, and is told as that.
CREATE FUNCTION mc.tell_credential() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    said json := coalesce(nullif(current_setting('mc.change', true), ''), '{}')::json;
    row_ mc.credential := coalesce(NEW, OLD);
    what text;
    changed text[] := '{}';
BEGIN
    IF TG_OP = 'INSERT' THEN
        what := 'created';
    ELSIF TG_OP = 'DELETE' THEN
        what := 'removed';
    ELSE
        changed := ARRAY(
            SELECT n.key FROM jsonb_each(to_jsonb(NEW)) AS n JOIN jsonb_each(to_jsonb(OLD)) AS o
                ON o.key = n.key AND o.value IS DISTINCT FROM n.value
            WHERE n.key NOT IN ('origin', 'created_at', 'revoked_by')
            ORDER BY n.key
        );
        IF changed = '{}' THEN
            RETURN NULL;
        END IF;
        what := CASE
            WHEN OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL THEN 'revoked'
            WHEN OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS NULL THEN 'restored'
            ELSE 'changed' END;
    END IF;
    INSERT INTO mc.rule_change (kind, region, detail) VALUES ('credential', '', json_build_object(
        'said', said,
        'what', what,
        'credential', row_.key_id,
        'tenant', row_.tenant,
        'holder', row_.principal,
        'role', row_.role,
        'scopes', row_.scopes,
        'expires_at', row_.expires_at,
        'changed', changed,
        'database_role', session_user
    ));
    RETURN NULL;
END $$;

CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON mc.credential
    FOR EACH ROW EXECUTE FUNCTION mc.tell_credential();

-- What an administrator has revoked no import, and no service, takes back.
CREATE FUNCTION mc.keep_revoked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.revoked_by IS NOT NULL AND OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS NULL THEN
        RAISE EXCEPTION 'credential % was revoked for good', OLD.key_id USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER keep_revoked BEFORE UPDATE ON mc.credential
    FOR EACH ROW EXECUTE FUNCTION mc.keep_revoked();

-- The service adds credentials and ends them; whose they are, and what for, it cannot change.
GRANT SELECT, INSERT ON mc.credential TO mc_recorder;
GRANT UPDATE (expires_at, revoked_at, revoked_by) ON mc.credential TO mc_recorder;
GRANT SELECT, INSERT ON mc.rule_change, mc.rule_declaration TO mc_recorder;
GRANT UPDATE (recorded_at) ON mc.rule_change TO mc_recorder;
