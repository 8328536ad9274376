-- The database of traces, version 4. Explained in harness/store/SCHEMA.md.
-- The build embeds this text; store/migrate.cc brings older databases to it.

CREATE TABLE environment (
  id   INTEGER PRIMARY KEY,
  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),  -- SHA-256 of json
  json TEXT NOT NULL CHECK (json_valid(json)),
  -- the GPUs, or the CPU of a machine without one
  device TEXT AS (coalesce(nullif(json_extract(json, '$.gpu'), ''),
                           json_extract(json, '$.cpu'), ''))
) STRICT;

CREATE TABLE run (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  command       TEXT NOT NULL,
  scenario      TEXT NOT NULL,
  scenario_path TEXT NOT NULL,
  scenario_text TEXT NOT NULL,
  environment   INTEGER NOT NULL REFERENCES environment (id),
  commit_id     TEXT NOT NULL,           -- of the scenario's project, or ''
  dirty         INTEGER NOT NULL CHECK (dirty IN (0, 1)),
  started       TEXT NOT NULL,           -- UTC, ISO 8601
  finished      TEXT,                    -- NULL while running and after a kill
  exit_code     INTEGER,
  unseed        TEXT,
  question        TEXT NOT NULL DEFAULT '',
  overrides       TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(overrides)),  -- of --set, as given
  notes           TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(notes)),
  tokens_compared INTEGER NOT NULL DEFAULT 0,
  obsolete        INTEGER NOT NULL DEFAULT 0,  -- golden blocks that no cell asks for
  seconds         REAL,                        -- wall clock
  cost            INTEGER NOT NULL DEFAULT 0 CHECK (cost IN (0, 1))  -- the scenario asks for costs
) STRICT;
CREATE INDEX run_scenario ON run (scenario, id);

CREATE TABLE cell (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  run            INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
  name           TEXT NOT NULL,
  hash           TEXT NOT NULL,          -- 16 hex digits: the cell's meaning
  class_hash     TEXT NOT NULL,
  class_recipe   TEXT NOT NULL,
  axes           TEXT NOT NULL CHECK (axes = '' OR json_valid(axes)),
  key            BLOB NOT NULL CHECK (length(key) = 32),
  attempt        INTEGER NOT NULL,
  state          TEXT NOT NULL CHECK (state IN ('pending', 'done')),
  source         INTEGER REFERENCES cell (id),  -- the executed cell whose trace this one reuses
  root           BLOB CHECK (length(root) = 32),
  status         TEXT CHECK (status IN ('ok', 'crashed', 'timed_out', 'failed', 'non_finite',
                                        'recomputed_differs')),
  status_reason  TEXT,
  level          TEXT CHECK (level IN ('logits', 'layers', 'ops')),
  observed       TEXT CHECK (observed IS NULL OR json_valid(observed)),
  seconds        REAL,
  record_seconds REAL,
  verdict        TEXT,
  severity       TEXT,
  verdict_reason TEXT,
  difference     TEXT CHECK (difference IS NULL OR json_valid(difference)),  -- JSON: where it parts from what, or null
  scored         INTEGER,  -- prompts with an answer
  correct        INTEGER,  -- of them, replies that are it
  CHECK ((state = 'pending') = (root IS NULL)),
  CHECK ((state = 'pending') = (status IS NULL))
) STRICT;
CREATE INDEX cell_run ON cell (run, class_hash);
CREATE INDEX cell_hash ON cell (hash, id);
CREATE INDEX cell_name ON cell (name, id);
CREATE INDEX cell_source ON cell (source) WHERE source IS NOT NULL;
CREATE INDEX cell_key ON cell (key, id)
  WHERE state = 'done' AND status = 'ok' AND source IS NULL;

CREATE TABLE prompt (
  cell          INTEGER NOT NULL REFERENCES cell (id) ON DELETE CASCADE,
  prompt        INTEGER NOT NULL,        -- index in the cell, from 0
  id            TEXT NOT NULL,           -- of the prompt file
  tokens_digest BLOB NOT NULL CHECK (length(tokens_digest) = 32),
  prompt_tokens INTEGER NOT NULL,
  token_count   INTEGER NOT NULL,        -- rows of this prompt in token
  root          BLOB NOT NULL CHECK (length(root) = 32),
  ended         INTEGER NOT NULL CHECK (ended IN (0, 1)),
  answer        TEXT NOT NULL,
  text          TEXT NOT NULL,
  PRIMARY KEY (cell, prompt)
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
  cell       INTEGER NOT NULL,
  prompt     INTEGER NOT NULL,
  position   INTEGER NOT NULL,           -- of the logits row
  id         INTEGER NOT NULL,           -- token drawn from the row
  fed        INTEGER NOT NULL,           -- token given to the next step
  digest     BLOB NOT NULL CHECK (length(digest) = 16),
  margin     REAL,                       -- top-1 minus top-2 logit; NULL: NaN
  non_finite INTEGER NOT NULL CHECK (non_finite IN (0, 1)),
  top        BLOB NOT NULL CHECK (length(top) % 8 = 0),
  log_sum    REAL,                       -- log-sum-exp of the row; NULL: it was not asked for
  fed_logit  REAL,                       -- logit of token fed; NULL: it was not asked for
  PRIMARY KEY (cell, prompt, position),
  FOREIGN KEY (cell, prompt) REFERENCES prompt (cell, prompt) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE observation (
  cell     INTEGER NOT NULL,
  prompt   INTEGER NOT NULL,
  position INTEGER NOT NULL,
  level    TEXT NOT NULL CHECK (level IN ('logits', 'layers', 'ops')),
  root     BLOB NOT NULL CHECK (length(root) = 32),        -- SHA-256 of digests
  digests  BLOB NOT NULL CHECK (length(digests) % 21 = 0),  -- layer i32, site u8, digest 16
  PRIMARY KEY (cell, prompt, position),
  FOREIGN KEY (cell, prompt) REFERENCES prompt (cell, prompt) ON DELETE CASCADE
) STRICT;

-- One group of one contract rule, as it was judged.
CREATE TABLE contract_group (
  run             INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
  number          INTEGER NOT NULL,      -- from 0, in the order of the report
  rule            TEXT NOT NULL,         -- same_bits across batch, cache
  key             TEXT NOT NULL,         -- the fixed axes: engine=reference,precision=bf16
  verdict         TEXT NOT NULL,
  reason          TEXT NOT NULL,
  compared_tokens INTEGER NOT NULL,
  differing       INTEGER NOT NULL,
  flipped         INTEGER NOT NULL,
  measured        TEXT NOT NULL CHECK (json_valid(measured)),
  PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE contract_member (
  run    INTEGER NOT NULL,
  number INTEGER NOT NULL,
  place  INTEGER NOT NULL,               -- in the group, from 0
  cell   INTEGER NOT NULL REFERENCES cell (id) ON DELETE CASCADE,
  PRIMARY KEY (run, number, place),
  FOREIGN KEY (run, number) REFERENCES contract_group (run, number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX contract_member_cell ON contract_member (cell);

-- One group of one entry of `measure`.
CREATE TABLE measured_group (
  run            INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
  number         INTEGER NOT NULL,       -- from 0, in the order of the report
  rule           TEXT NOT NULL,          -- measure across batch, gemm
  key            TEXT NOT NULL,          -- the fixed axes: precision=bf16
  cells          TEXT NOT NULL CHECK (json_valid(cells)),  -- numbers of the first attempts, from 0
  unselected     INTEGER NOT NULL,
  configurations INTEGER NOT NULL,       -- that have a result
  lost           INTEGER NOT NULL,       -- that have none
  samples        INTEGER NOT NULL,       -- of each configuration
  prompts        INTEGER NOT NULL,       -- that every configuration has
  left_out       INTEGER NOT NULL,       -- prompts that some configuration lacks
  PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE metric_value (
  run            INTEGER NOT NULL,
  number         INTEGER NOT NULL,
  place          INTEGER NOT NULL,       -- in the group, from 0
  metric         TEXT NOT NULL,          -- std_accuracy
  value          REAL,                   -- NULL: there is none, and reason says why
  standard_error REAL,                   -- jackknife over prompts
  prompts        INTEGER NOT NULL,       -- that it rests on
  reason         TEXT NOT NULL,
  PRIMARY KEY (run, number, place),
  FOREIGN KEY (run, number) REFERENCES measured_group (run, number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Of a measured group with metrics by value: pairs of cells with equal bits, and those of them whose
-- distances are exactly 0.
CREATE TABLE identity_control (
  run     INTEGER NOT NULL,
  number  INTEGER NOT NULL,              -- of the measured group
  pairs   INTEGER NOT NULL,
  exact   INTEGER NOT NULL,
  problem TEXT NOT NULL,                 -- of the first that is not exact, or ''
  PRIMARY KEY (run, number),
  FOREIGN KEY (run, number) REFERENCES measured_group (run, number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- One configuration of a measured group against its reference.
CREATE TABLE measured_pair (
  run           INTEGER NOT NULL,
  number        INTEGER NOT NULL,        -- of the measured group
  pair          INTEGER NOT NULL,        -- from 0, in the order of the configurations
  configuration TEXT NOT NULL,           -- kv=q8_0
  reference     TEXT NOT NULL,           -- kv=exact
  cells         TEXT NOT NULL CHECK (json_valid(cells)),  -- by sample: [reference, configuration]
  problem       TEXT NOT NULL,           -- why there is no number, or ''
  row_bytes     BLOB,                    -- distances of every aligned row, or NULL
  PRIMARY KEY (run, number, pair),
  FOREIGN KEY (run, number) REFERENCES measured_group (run, number) ON DELETE CASCADE
) STRICT;

CREATE TABLE pair_value (
  run            INTEGER NOT NULL,
  number         INTEGER NOT NULL,
  pair           INTEGER NOT NULL,
  place          INTEGER NOT NULL,       -- in the pair, from 0
  metric         TEXT NOT NULL,          -- kl
  value          REAL,                   -- NULL: there is none, and reason says why
  standard_error REAL,                   -- jackknife over prompts
  prompts        INTEGER NOT NULL,       -- that it rests on
  reason         TEXT NOT NULL,
  parts          TEXT NOT NULL CHECK (json_valid(parts)),  -- [["flips", 3.0], …]
  PRIMARY KEY (run, number, pair, place),
  FOREIGN KEY (run, number, pair) REFERENCES measured_pair (run, number, pair) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Sums over the aligned rows of one layer and site.
CREATE TABLE pair_layer (
  run       INTEGER NOT NULL,
  number    INTEGER NOT NULL,
  pair      INTEGER NOT NULL,
  layer     INTEGER NOT NULL,
  site      TEXT NOT NULL,               -- h1, h2, k, k_seen
  row_count INTEGER NOT NULL,            -- of k_seen and v_seen: of every KV head
  distance  REAL NOT NULL,               -- sum of |h - h'|, h the reference's
  norm      REAL NOT NULL,               -- sum of |h|
  max_abs   REAL NOT NULL,               -- of an element
  squares   REAL NOT NULL,               -- sum of |h|^2
  magnitude REAL NOT NULL,               -- sum of (|h| - |h'|)^2
  direction REAL NOT NULL,               -- sum of 2 |h| |h'| (1 - cos)
  evicted   INTEGER NOT NULL,            -- rows that one side does not see
  PRIMARY KEY (run, number, pair, layer, site),
  FOREIGN KEY (run, number, pair) REFERENCES measured_pair (run, number, pair) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- One value of a score of a judged cell.
CREATE TABLE score_value (
  cell           INTEGER NOT NULL REFERENCES cell (id) ON DELETE CASCADE,
  place          INTEGER NOT NULL,       -- among the cell's values, from 0
  score          TEXT NOT NULL,          -- ifeval
  name           TEXT NOT NULL,          -- prompt_strict
  n              INTEGER NOT NULL,       -- prompts, instructions, tokens or bytes that it is of
  right          INTEGER,                -- of them, NULL: the value is no share
  left_out       INTEGER NOT NULL,       -- prompts with something that is not judged
  value          REAL,                   -- NULL: there is none, and reason says why
  standard_error REAL,
  reason         TEXT NOT NULL,
  reference      INTEGER,                -- number of the first attempt it is compared with, from 0
  difference     REAL,                   -- from the reference's value
  gained         INTEGER NOT NULL,       -- units right here and wrong there
  lost           INTEGER NOT NULL,       -- units wrong here and right there
  p              REAL,                   -- of McNemar's exact test, NULL: of no shares
  PRIMARY KEY (cell, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE golden_event (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  at          TEXT NOT NULL,
  action      TEXT NOT NULL CHECK (action IN ('bless', 'retire', 'reject')),
  scenario    TEXT NOT NULL,
  class_hash  TEXT NOT NULL,
  prompt_id   TEXT NOT NULL,
  block_hash  TEXT NOT NULL,
  parent_hash TEXT NOT NULL,
  by_whom     TEXT NOT NULL,
  reason      TEXT NOT NULL
) STRICT;
CREATE INDEX golden_event_scenario ON golden_event (scenario, id);

-- The newest verdict of every cell.
CREATE VIEW latest_verdict AS
SELECT r.scenario, c.name, c.hash, c.verdict, c.severity, c.verdict_reason AS reason, c.run,
       c.id AS cell, r.started, r.commit_id, r.dirty, c.source IS NOT NULL AS cached
FROM cell c JOIN run r ON r.id = c.run
WHERE c.id = (SELECT max(n.id) FROM cell n WHERE n.hash = c.hash AND n.verdict IS NOT NULL);

-- Every time that a cell's bits changed between two runs on the same device.
CREATE VIEW bits_change AS
SELECT * FROM (
  SELECT r.scenario, e.device, c.name, c.hash, c.run, r.started, r.commit_id, r.dirty,
         lag(r.id) OVER cell_by_run AS previous_run,
         lag(r.commit_id) OVER cell_by_run AS previous_commit_id,
         c.root, lag(c.root) OVER cell_by_run AS previous_root
  FROM cell c JOIN run r ON r.id = c.run JOIN environment e ON e.id = r.environment
  WHERE c.state = 'done' AND c.status = 'ok'
  WINDOW cell_by_run AS (PARTITION BY r.scenario, e.device, c.hash ORDER BY c.id)
) WHERE root <> previous_root;

-- The first run and commit in which a scenario's bits changed on a device.
CREATE VIEW first_change AS
SELECT scenario, device, min(run) AS run, started, commit_id, dirty, previous_run,
       previous_commit_id, count(*) AS changes
FROM bits_change GROUP BY scenario, device;

-- Cells of a run whose bits differ from those of the first cell of their class.
CREATE VIEW divergence AS
SELECT a.run, a.class_hash, a.id AS cell_a, b.id AS cell_b, a.name AS name_a, b.name AS name_b,
       (SELECT x.prompt || ':' || x.position
        FROM token x JOIN token y ON y.cell = coalesce(b.source, b.id) AND y.prompt = x.prompt
                                 AND y.position = x.position
        WHERE x.cell = coalesce(a.source, a.id) AND (x.digest <> y.digest OR x.id <> y.id)
        ORDER BY x.prompt, x.position LIMIT 1) AS first_prompt_position
FROM cell a JOIN cell b ON b.run = a.run AND b.class_hash = a.class_hash
WHERE a.id = (SELECT min(c.id) FROM cell c WHERE c.run = b.run AND c.class_hash = b.class_hash
                                             AND c.state = 'done' AND c.status = 'ok')
  AND b.state = 'done' AND b.status = 'ok' AND b.root <> a.root;
