-- The service ends credentials, and takes no end back: neither in two steps, by forgetting first who
-- revoked it, nor an import's revocation, nor an expiry. An import may take its own revocation back.
CREATE OR REPLACE FUNCTION mc.keep_revoked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.revoked_by IS NOT NULL
        AND (NEW.revoked_by IS NULL OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS NULL)) THEN
        RAISE EXCEPTION 'credential % was revoked for good', OLD.key_id USING ERRCODE = '23514';
    END IF;
    IF current_user = 'mc_recorder' AND (
        (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS NULL)
        OR coalesce(NEW.expires_at, 'infinity') > coalesce(OLD.expires_at, 'infinity')
    ) THEN
        RAISE EXCEPTION 'the service takes no end of credential % back', OLD.key_id
            USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;
