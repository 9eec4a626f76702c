-- Aggregates over datasets: what was spent of the privacy budgets, and what was answered.
-- Epsilons are whole millionths. Charges are only added: nothing gives any back.

-- One row for each budget; whoever charges holds its lock, so that charges take turns.
CREATE TABLE mc.aggregate_turn (
    tenant  text NOT NULL,
    dataset text NOT NULL,
    PRIMARY KEY (tenant, dataset)
);

CREATE TABLE mc.aggregate_charge (
    number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant        text NOT NULL,
    dataset       text NOT NULL,
    principal     text NOT NULL,
    micro_epsilon bigint NOT NULL CHECK (micro_epsilon > 0),
    charged_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (tenant, dataset) REFERENCES mc.aggregate_turn
);
CREATE INDEX aggregate_charge_of ON mc.aggregate_charge (tenant, dataset, charged_at);

-- `fingerprint` and `condition` are keyed digests of the query and of its conditions alone;
-- `selection` holds keyed digests of the persons (8 bytes each, sorted), never their ids.
CREATE TABLE mc.aggregate_query (
    id          uuid PRIMARY KEY,
    number      bigint GENERATED ALWAYS AS IDENTITY,
    tenant      text NOT NULL,
    dataset     text NOT NULL,
    principal   text NOT NULL,
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    condition   bytea NOT NULL CHECK (octet_length(condition) = 32),
    state       text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'answered', 'refused')),
    selection   bytea CHECK (octet_length(selection) % 8 = 0),
    answer      json,
    asked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at    timestamptz,
    -- An answer holds what was released, with its noise; a refusal keeps nothing of the persons.
    CONSTRAINT answered_whole CHECK ((state = 'answered') = (answer IS NOT NULL)),
    CONSTRAINT selected_whole CHECK ((state = 'refused') = (selection IS NULL)),
    CONSTRAINT ended_whole CHECK ((state = 'pending') = (ended_at IS NULL)),
    FOREIGN KEY (tenant, dataset) REFERENCES mc.aggregate_turn
);
CREATE INDEX aggregate_query_of ON mc.aggregate_query (tenant, dataset, fingerprint, number DESC);

GRANT SELECT, INSERT ON mc.aggregate_turn, mc.aggregate_charge, mc.aggregate_query TO mc_recorder;
-- For the row lock; nothing in it changes
GRANT UPDATE ON mc.aggregate_turn TO mc_recorder;
-- How a query ended is told once; who asked what, and what it cost, cannot be changed.
GRANT UPDATE (state, selection, answer, ended_at) ON mc.aggregate_query TO mc_recorder;
