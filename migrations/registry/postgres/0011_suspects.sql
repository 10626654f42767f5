-- Targets whose workers were lost twice are looked for by every worker, and there are few of them.
CREATE INDEX targets_suspects ON targets (due_at) WHERE lapses >= 2 AND due_at IS NOT NULL;
