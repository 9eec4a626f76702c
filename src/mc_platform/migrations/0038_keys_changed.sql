-- A change of the keyring is told to the ledger as a change of the rules is, and declared as one. Each
-- check is wider than the one that it replaces, so rows that are there need no look, and what the version
-- before writes still passes.
ALTER TABLE mc.rule_change
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT rule_change_kind_check,
    ADD CONSTRAINT rule_change_kind_check
        CHECK (kind IN ('credential', 'policy_set', 'catalogue', 'keyring')) NOT VALID;
ALTER TABLE mc.rule_declaration
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT rule_declaration_kind_check,
    ADD CONSTRAINT rule_declaration_kind_check
        CHECK (kind IN ('policy_set', 'catalogue', 'keyring')) NOT VALID;
