//! `kms rebuild` and `kms serve-alone`: the operator's way out of the loss of a zone. Asks for exactly the
//! statement that is needed, and shows how far it is.

use super::{
    Failure,
    output::{complain, say},
    region::WhichRegion,
};
use clap::{Args, Subcommand, ValueEnum};
use kms::{
    config::Zone,
    env::{BoxFuture, Env},
    operator::{
        ask::ANSWER_WITHIN,
        rebuild::Plan,
        session::{Operator, Person, Progress, RebuildError},
    },
    store::epoch::DbId,
};
use std::{
    io::{BufRead, IsTerminal},
    time::Duration,
};

/// Fewest characters of a database's id that name it.
const ID_PREFIX: usize = 8;

#[derive(Debug, Args)]
#[command(
    after_help = "Every step is durable before the next one: if this is interrupted, run the same command again.\n\
    Reads go on meanwhile; key writes are refused until it is done. See docs/rebuild.md."
)]
pub(super) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Fill a new database in this zone from the other zone's
    Zone(ZoneOptions),
    /// Give up a rebuild of this zone: take its old database back, which has lost nothing
    Abandon(AbandonOptions),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ZoneName {
    A,
    B,
}

impl From<ZoneName> for Zone {
    fn from(name: ZoneName) -> Zone {
        match name {
            ZoneName::A => Zone::A,
            ZoneName::B => Zone::B,
        }
    }
}

#[derive(Debug, Args)]
struct ZoneOptions {
    /// The zone that was lost
    zone: ZoneName,
    #[command(flatten)]
    which: WhichRegion,
    #[command(flatten)]
    statement: StatementOptions,
    /// Replace a database that still serves, cut off from the other one
    #[arg(long)]
    retire_serving: bool,
    /// Take the place of a registered rebuild of the other zone whose source is lost
    #[arg(long)]
    instead: bool,
}

#[derive(Debug, Args)]
struct AbandonOptions {
    /// The zone whose rebuild is given up
    zone: ZoneName,
    #[command(flatten)]
    which: WhichRegion,
    #[command(flatten)]
    statement: StatementOptions,
}

#[derive(Debug, Args)]
struct StatementOptions {
    /// State that the process of this database (its id, or the first 8 characters of it, as `kms status` shows) is not
    /// running now. Without it you are asked when it matters
    #[arg(long, value_name = "ID")]
    not_running: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "This is the statement that no newer epoch is in use: that nobody rebuilt this zone. If it is false,\n\
    clients may see what is no longer true. It is good until the process ends, and is kept in the store."
)]
pub(super) struct AloneOptions {
    /// The zone whose database is to serve
    zone: ZoneName,
    #[command(flatten)]
    which: WhichRegion,
    /// The id of the database that is to serve (or the first 8 characters), to say so without being asked
    #[arg(long, value_name = "ID")]
    database: Option<String>,
}

pub(super) async fn run(env: Env, options: Options) -> Result<(), Failure> {
    let (which, statement, plan) = match options.what {
        What::Zone(zone) => {
            let plan = Plan {
                zone: zone.zone.into(),
                abandon: false,
                retire_serving: zone.retire_serving,
                instead: zone.instead,
            };
            (zone.which, zone.statement, plan)
        }
        What::Abandon(zone) => {
            let plan = Plan { zone: zone.zone.into(), abandon: true, retire_serving: true, instead: false };
            (zone.which, zone.statement, plan)
        }
    };
    let operator = operator(&env, &which)?;
    let mut terminal = Terminal::new(&env, statement.not_running, NOT_RUNNING);
    let epoch = operator.rebuild(plan, &mut terminal).await.map_err(failure)?;
    say(format_args!("Zone {} is whole again, in epoch {epoch}.\n", plan.zone.word()));
    Ok(())
}

pub(super) async fn serve_alone(env: Env, options: AloneOptions) -> Result<(), Failure> {
    let operator = operator(&env, &options.which)?;
    let mut terminal = Terminal::new(&env, options.database, ALONE);
    let served = operator.serve_alone(options.zone.into(), &mut terminal).await;
    let database = served.map_err(|error| match error {
        RebuildError::NotStated(id) => {
            Failure::Usage(format!("not stated that no newer epoch is in use: database {id} goes on waiting"))
        }
        other => failure(other),
    })?;
    say(format_args!("Database {database} serves until its process ends. Bring the witness back.\n"));
    Ok(())
}

pub(super) fn operator(env: &Env, which: &WhichRegion) -> Result<Operator, Failure> {
    let config = which.load(env)?;
    let tls = config.tls(env, ANSWER_WITHIN).map_err(Failure::usage)?;
    let key = config.signer(env).map_err(Failure::usage)?;
    Ok(Operator::new(env.clone(), config, tls, key))
}

pub(super) fn failure(error: RebuildError) -> Failure {
    match error {
        RebuildError::NotStated(_) | RebuildError::Refused(_) | RebuildError::Needless(_) => {
            Failure::Usage(error.to_string())
        }
        other => Failure::Runtime(other.to_string()),
    }
}

const NOT_RUNNING: Question = Question {
    text: "must not be running: is its process stopped, its machine off, or its disk gone, NOW?\n\
    (The id names a store: a process that is blank, or shows another id, is not it.)\n\
    If it runs and cannot be reached, clients near it would read what is no longer true.\n\
    To state that it is not running",
    option: "--not-running",
};
const ALONE: Question = Question {
    text: "will serve although nobody says that its epoch is current. If its zone was rebuilt meanwhile,\n\
    clients would read what is no longer true. To state that no newer epoch is in use",
    option: "--database",
};

pub(super) const REGION_OFF: Question = Question {
    text: "must not be running, and no client may reach its region's entry: is its process stopped, its machine off, or its\n\
    disk gone, NOW? Whatever it goes on to acknowledge would be lost.\n\
    To state that it is not running",
    option: "--not-running",
};

/// What is asked of a person, and the option that answers in advance.
pub(super) struct Question {
    text: &'static str,
    option: &'static str,
}

/// A person at a terminal, or a script that has said everything in advance.
pub(super) struct Terminal {
    env: Env,
    stated: Vec<String>,
    question: Question,
    begun: Option<(Duration, u64)>,
    /// What was said last: the same is not said twice in a row.
    said: String,
    line_open: bool,
}

impl Terminal {
    /// For what asks nothing.
    pub(super) fn silent(env: &Env) -> Terminal {
        Terminal::new(env, None, NOT_RUNNING)
    }

    pub(super) fn new(env: &Env, stated: impl IntoIterator<Item = String>, question: Question) -> Terminal {
        let stated = stated.into_iter().collect();
        Terminal { env: env.clone(), stated, question, begun: None, said: String::new(), line_open: false }
    }

    fn line(&mut self, text: &str) {
        if self.said == text {
            return;
        }
        text.clone_into(&mut self.said);
        if std::mem::take(&mut self.line_open) {
            complain("\n");
        }
        complain(format_args!("{text}\n"));
    }

    /// Bytes, share and time left, on one line that is written again.
    fn filling(&mut self, fill: &kms::store::server::FillStatus) {
        if fill.rows_total == 0 && !fill.filled {
            let why = fill.trouble.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            return self.line(&format!("filling: waiting for the source{why}"));
        }
        let now = self.env.now().0;
        let (begun, had) = *self.begun.get_or_insert((now, fill.bytes));
        let seconds = now.saturating_sub(begun).as_secs_f64();
        let share = if fill.rows_total == 0 { 1.0 } else { fill.rows as f64 / fill.rows_total as f64 };
        let rate = if seconds > 0.0 { fill.bytes.saturating_sub(had) as f64 / seconds } else { 0.0 };
        let total = if share > 0.0 { fill.bytes as f64 / share } else { 0.0 };
        let left = if rate > 0.0 { (total - fill.bytes as f64) / rate } else { 0.0 };
        let text = format!(
            "filling: {:.0} %, {} of {} records, {:.1} MB, {:.1} MB/s, {left:.0} s left{}",
            share * 100.0,
            fill.rows,
            fill.rows_total,
            fill.bytes as f64 / 1e6,
            rate / 1e6,
            fill.trouble.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
        );
        if std::io::stderr().is_terminal() {
            complain(format_args!("\r{text:<100}"));
            self.line_open = true;
        } else {
            self.line(&text);
        }
    }
}

impl Person for Terminal {
    fn told(&mut self, progress: &Progress) {
        let text = match progress {
            Progress::Registered(epoch, false) => format!("epoch {epoch} is registered at the witness"),
            Progress::Registered(epoch, true) => format!("going on with epoch {epoch}, registered before"),
            Progress::Adopted => {
                "the source has adopted it: key writes are refused from now on, reads go on".to_owned()
            }
            Progress::ReplicaStands => {
                "the replica has adopted it: nobody feeds it any more, and what it has stands still"
                    .to_owned()
            }
            Progress::Loading(seed) => format!(
                "the replica takes the backup: {} of {} records of its snapshot, {:.1} MB",
                seed.rows,
                seed.rows_total,
                seed.bytes as f64 / 1e6
            ),
            Progress::FillingZone(zone, fill) => {
                let share =
                    (fill.rows * 100).checked_div(fill.rows_total).unwrap_or(u64::from(fill.filled) * 100);
                format!(
                    "zone {}: {share} %, {} of {} records, {:.1} MB{}",
                    zone.word(),
                    fill.rows,
                    fill.rows_total,
                    fill.bytes as f64 / 1e6,
                    fill.trouble.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
                )
            }
            Progress::Fenced(true) => "fenced: no database of an earlier epoch can serve any more".to_owned(),
            Progress::Fenced(false) => "fenced, by your statement".to_owned(),
            Progress::Filling(fill) => return self.filling(fill),
            Progress::Waiting(what) => format!("waiting: {what}"),
            Progress::Unknown(what) => format!("NOT KNOWN: {what}"),
            Progress::Filled(position) => format!("filled: both logs end at {position:?}"),
            Progress::Activated(epoch) => format!("epoch {epoch} is active"),
            Progress::Committed(id) => {
                format!("both databases have it: they listen to witness {} from now on", hex::encode(id))
            }
            Progress::Writable(None) => "key writes are accepted".to_owned(),
            Progress::Writable(Some(after)) => {
                format!("key writes are accepted, {:.1} s after the activation", after.as_secs_f64())
            }
        };
        self.line(&text);
    }

    fn states(&mut self, zone: Zone, id: DbId) -> BoxFuture<'_, bool> {
        let full = id.to_string();
        if !self.stated.is_empty() {
            let is_it =
                |stated: &String| stated.len() >= ID_PREFIX && full.starts_with(&stated.to_lowercase());
            let names = self.stated.iter().any(is_it);
            if !names {
                self.line(&format!("stated was database {}; needed is {full}", self.stated.join(", ")));
            }
            return Box::pin(async move { names });
        }
        self.line(&format!(
            "The database {full} of zone {} {}, type the first {ID_PREFIX} characters of its id:",
            zone.word(),
            self.question.text
        ));
        if !std::io::stdin().is_terminal() {
            let option = self.question.option;
            self.line(&format!("(no terminal to ask at: add {option} and the id)"));
            return Box::pin(async { false });
        }
        let env = self.env.clone();
        Box::pin(async move {
            let read = env.blocking("ask", || std::io::stdin().lock().lines().next());
            match read.await {
                Ok(Some(Ok(typed))) => {
                    let typed = typed.trim().to_lowercase();
                    typed.len() >= ID_PREFIX && full.starts_with(&typed)
                }
                _ => false,
            }
        })
    }
}
