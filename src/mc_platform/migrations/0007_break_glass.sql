-- Break-glass grants. That two people are two is a constraint here, whatever the program does.

CREATE TABLE mc.break_glass (
    id          uuid PRIMARY KEY,
    tenant      text NOT NULL CHECK (tenant NOT IN ('', 'PLATFORM')),
    reason      text NOT NULL CHECK (reason <> ''),
    minutes     integer NOT NULL CHECK (minutes BETWEEN 1 AND 240),
    asked_by    text NOT NULL,
    asked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    approved_by text,
    approved_at timestamptz,
    expires_at  timestamptz,
    ended_by    text,
    ended_at    timestamptz,
    CONSTRAINT approved_by_another CHECK (approved_by <> asked_by),
    CONSTRAINT approved_whole CHECK (
        (approved_by IS NULL) = (approved_at IS NULL)
        AND (approved_at IS NULL) = (expires_at IS NULL)
    ),
    CONSTRAINT time_boxed CHECK (expires_at <= approved_at + interval '240 minutes'),
    CONSTRAINT ended_whole CHECK ((ended_by IS NULL) = (ended_at IS NULL))
);
CREATE INDEX break_glass_of ON mc.break_glass (asked_by, tenant, expires_at);
CREATE INDEX break_glass_newest ON mc.break_glass (asked_at DESC);

GRANT SELECT, INSERT ON mc.break_glass TO mc_recorder;
-- Who asked, for whom, why and for how long cannot be changed afterwards.
GRANT UPDATE (approved_by, approved_at, expires_at, ended_by, ended_at) ON mc.break_glass
    TO mc_recorder;
