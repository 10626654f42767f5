//! What stands at the end of the help: calls that work as they are written, and what is read from the environment.

pub(super) const ENVIRONMENT: &str = "\
Environment (a flag wins; the first three may be in a file that NAME_FILE names):
  TENANTRY_MASTER_KEY     or MASTER_ENCRYPTION_KEY: 32 bytes that open the tenants' URLs
  TENANTRY_REGISTRY_URL   or TENANT_REGISTRY_DB_URL: as --registry-url
  TENANTRY_QUEUE_URL      as --queue-url
  TENANTRY_MIGRATIONS     as --source
  TENANTRY_RUN_CANARY     and the like: as canary, waves, soak, … in [run] of the configuration
  DATABASE_URL            or DB_HOST, DB_CONNECTION, …: for migrate, plan and rollback without a selection
  NO_COLOR                no color";

pub(super) const ENQUEUE: &str = "\
Examples:
  tenantry enqueue --all                            every active tenant, to the newest migration
  tenantry enqueue --all --wait --timeout 30m       for a deploy step: ends with the run's result
  tenantry enqueue --all --canary 1% --soak 10m     first some, and the others when those went well
  tenantry enqueue --all --canary none --fail-fast  all at once, unlike configured, until one fails
  tenantry enqueue --all --sync --wait              with the tenants that the source lists now
  tenantry enqueue --all --idempotency-key \"$GITHUB_SHA\" --wait         a step that may be repeated: one run
  tenantry enqueue --all --retry-failed             also who failed for good before, with the same files
  tenantry enqueue -t acme --overlap                beside a run that has not ended with acme
  tenantry enqueue -l 'plan=pro,region in (eu,us)'  tenants by label
  tenantry enqueue -t acme,globex --target 20261121103012
  psql -Atc 'SELECT …' | tenantry enqueue --tenants-file - --no-tenants pass
  RUN=$(tenantry enqueue --all --yes) && tenantry wait \"$RUN\"";

pub(super) const PLAN: &str = "\
Examples:
  tenantry plan --all                     who would get which migrations, in groups
  tenantry plan --all --sql               and their SQL, each group's once
  tenantry plan -t acme --sql             one tenant
  tenantry plan --all --canary 1%         and how many would be in each wave
  tenantry plan --all --exit-code         for a script: 103 while something is pending
  DATABASE_URL=postgres://… tenantry plan           one database, without a registry";

pub(super) const REHEARSE: &str = "\
Examples:
  tenantry rehearse --all                 who would fail, and why: 100 when somebody would
  tenantry rehearse --all --sample 5%     the same of every twentieth tenant
  tenantry rehearse -t acme --lock-timeout 200ms
  tenantry rehearse --all --json | jq '.groups[] | select(.state == \"unrehearsed\")'
  DATABASE_URL=postgres://… tenantry rehearse       one database, without a registry
docs/rehearse.md tells what a rehearsal does not see.";

pub(super) const MIGRATE: &str = "\
Examples:
  tenantry migrate --all                  the whole fleet, without any worker
  tenantry migrate -t acme                one tenant
  DATABASE_URL=postgres://… tenantry migrate          one database, without a registry
  tenantry migrate --url-env ACME_URL --schema acme   one schema of it
  DB_CONNECTION=mysql DB_HOST=db DB_DATABASE=app DB_USERNAME=app DB_PASSWORD=… tenantry migrate";

pub(super) const RETRY: &str = "\
Examples:
  tenantry retry                          all failed tenants of the latest failed run
  tenantry retry 412 --error 3f9c2a17     those that failed for one cause, once it is mended
  tenantry retry 412 -t acme --wait       one of them, and wait for it
  tenantry retry --work                   without any worker
  tenantry retry --source migrations      with mended migrations, to their newest version";

pub(super) const ROLLBACK: &str = "\
Examples:
  tenantry rollback --all --run latest --wait       what the latest run applied, wherever it did
  tenantry rollback -t acme                         the newest migration of one tenant
  tenantry rollback -l plan=beta --to 20261102113000 --work
  tenantry rollback --all --steps 2 --dry-run       what that would revert; changes nothing
  tenantry rollback --url-env ACME_URL              one database, without a registry";

pub(super) const RESET: &str = "\
Every migration needs a down script; a tenant with one that has none is refused and not touched.

Examples:
  tenantry reset -t acme --work                     back to nothing, without any worker
  tenantry refresh -l dev --work                    back to nothing, and up to the newest again
  tenantry refresh --all --work --yes-really        for a script";

pub(super) const BASELINE: &str = "\
Examples:
  tenantry baseline --all --to 20260901090000 --wait   then migrate as usual
  tenantry baseline -t acme --to 7 --work              one tenant, without any worker";

pub(super) const REPAIR: &str = "\
Examples:
  tenantry repair --all                   what is wrong, and the command for each; changes nothing
  tenantry repair -t acme --done          its statement in doubt is done: the next run goes on behind it
  tenantry repair -t acme --undone        what was half done is undone by hand
  tenantry repair --all --checksums       changed files are accepted as they are now
  tenantry repair -t acme --forget 20261102113000";

pub(super) const STATUS: &str = "\
Examples:
  tenantry status                         the fleet, the workers and the newest runs
  tenantry status latest --state failed   who failed in the latest run, and why
  tenantry status latest --group-by error how many failed for which cause; or label:plan, server, wave
  tenantry status latest --all-causes     every cause, each with the command that retries its tenants
  tenantry status -t acme                 one tenant
  tenantry status --exit-code             for a script: 103 while a tenant is behind
  tenantry status latest --json | jq -r '.failures[].fingerprint'";

pub(super) const GATE: &str = "\
Examples:
  tenantry gate                           every active tenant at the newest migration
  tenantry gate --target 20261121103012 --min 99.5%
  tenantry gate -l plan=pro --max-age 24h            and none of it known from longer ago
  tenantry gate --run latest --min 99%    how the latest run went
  tenantry gate --json | jq -r '.missing[].tenant'";

pub(super) const WAIT: &str = "\
Examples:
  tenantry wait                           the latest run; Ctrl-C ends the waiting, not the run
  tenantry wait 412 --timeout 30m         124 after half an hour, and the run goes on
  tenantry wait 412 --json | jq -r '.failures[] | .retry'";

pub(super) const CANCEL: &str = "\
Examples:
  tenantry cancel                         the latest run; what is being migrated comes to its end
  tenantry cancel 412 --force             that, too, is stopped: its number is to be typed, or --yes
  tenantry cancel 412 && tenantry wait 412            102 when nothing of it is at work any more
docs/waves.md tells what is left behind.";

pub(super) const PAUSE: &str = "\
Examples:
  tenantry pause 412                      what is being migrated comes to its end
  tenantry resume 412                     it goes on
  tenantry cancel 412                     or it ends there";

pub(super) const LOGS: &str = "\
Examples:
  tenantry logs -t acme                   in the latest run
  tenantry logs 412 -t acme --json | jq '.attempts[-1].output'";

pub(super) const SERVERS: &str = "\
Examples:
  tenantry servers                        each with its tenants, how many run now, cap and limit
  tenantry servers set db1.internal:5432 --cap 8      or by its number in that list
  tenantry servers set db1.internal:5432 --no-cap     as the configuration says, or without one
A cap may be configured, too, as per-server in [run] or cap in [servers.\"db1.internal:5432\"]; docs/servers.md tells more.";

pub(super) const VERIFY: &str = "\
Examples:
  tenantry verify --all                   every history: 103 when some are behind, 100 when one is wrong
  tenantry verify --all --schema          every schema, too: who is unlike the others, and in what
  tenantry verify -t acme,globex --source release/migrations
  tenantry verify --all --schema --json | jq '.schemas[].others[] | {text, tenants}'";

pub(super) const TENANTS_ADD: &str = "\
Examples:
  echo \"$URL\" | tenantry tenants add acme --url-stdin --label plan=pro
  tenantry tenants add acme --from-env ACME_URL --schema acme
  tenantry tenants add acme --url-file /run/secrets/acme --disabled";

pub(super) const TENANTS_IMPORT: &str = "\
CSV has a heading:
  id,url,schema,status,label.plan
  acme,postgres://app:…@db1/acme,,active,pro
  globex,postgres://app:…@db1/saas,globex,,free

JSON Lines has an object a line:
  {\"id\": \"acme\", \"url\": \"mysql://app:…@db2/acme\", \"labels\": {\"plan\": \"pro\"}}

Examples:
  tenantry tenants import tenants.csv
  psql -Atc \"SELECT json_build_object('id', slug, 'url', url) FROM companies\" |
    tenantry tenants import - --format jsonl";

pub(super) const TENANTS_SYNC: &str = "\
A source in tenantry.toml, here the companies of a Laravel application, each with a database on the same server:
  [source]
  url = { env = \"CENTRAL_DB_URL\" }
  query = \"SELECT slug AS id, database FROM companies WHERE deleted_at IS NULL\"

Or: file = \"tenants.csv\"
Or: endpoint = \"https://admin.example.com/tenants\", items = \"data\"
Or: discover = \"schemas\", url = { env = \"SAAS_DB_URL\" }, pattern = \"tenant_*\"
docs/sources.md has every key.

Examples:
  tenantry tenants sync --dry-run         what would change
  tenantry tenants sync                   the same, and after a yes it does
  tenantry tenants sync crm --yes         the one source [sources.crm], without a question
  tenantry tenants sync --dry-run --exit-code         for a script: 103 when something would change
  tenantry tenants sync --dry-run --json | jq -r '.sources[].added[].tenant'
  tenantry enqueue --all --sync --wait    for a deploy step: new tenants are in the run";

pub(super) const SCHEDULE: &str = "\
A schedule in tenantry.toml, with any flags of enqueue that choose tenants or say how:
  [[schedule]]
  name = \"nightly\"
  cron = \"30 2 * * *\"
  timezone = \"Europe/Berlin\"
  all = true
  canary = \"1%\"

Examples:
  tenantry schedule run                   in the foreground; two of them start each run once
  tenantry schedule run --once            for a timer of the system: what is due now
  tenantry schedule next nightly          the next five times
  tenantry schedule trigger nightly --wait
docs/schedule.md has every key.";
