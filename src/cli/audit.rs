//! `crosslink audit`: whether the command log is as it was written.
//!
//! Exit code 0 says that it is, 1 that it is not, and 2 that it could not be read.

use std::{fmt::Write, process::ExitCode};

use clap::{Args, Subcommand};

use super::{complain, print};
use crate::{
    config::{Config, DatabaseFlags},
    error::Error,
    store::{self, Audit, Broken, Head, Removed},
};

/// Looks after the command log.
#[derive(Args, Debug)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Look for rows of the command log that were changed, removed or moved
    ///
    /// Each row carries a hash of itself and of the row before it. This reads them all, in the database that a
    /// gateway is using or in a copy, writes nothing, and tells the first row that is not as it was written.
    ///
    /// Whoever can write the file can also write a new chain. So note the head that is printed, elsewhere: with
    /// --head a later look makes sure that everything up to it is still the same.
    #[command(after_help = HINTS, verbatim_doc_comment)]
    Verify {
        #[command(flatten)]
        database: DatabaseFlags,
        /// A head that an earlier look has printed, and that must still be there
        #[arg(long, value_name = "SEQ:HASH")]
        head: Option<Head>,
    },
}

const HINTS: &str = "\
It ends with 0 if the log is as it was written, with 1 if it is not, and with 2 if it cannot be read.

Examples:
  crosslink audit verify
  crosslink audit verify --database sqlite:///var/lib/crosslink/plant.db
  crosslink audit verify --database sqlite://copy.db --head 4711:d303102dae99…
";

pub(super) async fn run(args: AuditArgs) -> ExitCode {
    let Task::Verify { database, head } = args.task;
    let audit = verify(&database, head).await.and_then(|audit| {
        print(&report(&audit))?;
        Ok(audit)
    });
    match audit {
        Ok(Audit { broken: None, .. }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            complain(&error);
            ExitCode::from(2)
        }
    }
}

async fn verify(database: &DatabaseFlags, head: Option<Head>) -> Result<Audit, Error> {
    store::verify(&Config::database_from_environment(database)?, head).await
}

/// What a person reads.
fn report(audit: &Audit) -> String {
    let mut report = String::new();
    let mut line = |text: String| {
        // Into a string nothing can fail.
        let _ = writeln!(report, "{text}");
    };
    let Audit { rows, commands, unchained, removed, head, broken } = audit;
    match broken {
        None => {
            line("the command log is as it was written".into());
            line(format!("{rows} rows, of {commands} commands"));
        }
        Some(Broken { seq, command, topic, flaw }) => {
            let command = command.map_or(String::new(), |id| format!(" of command {id}"));
            let topic = topic.as_ref().map_or(String::new(), |topic| format!(" on {topic}"));
            line(format!("the command log was changed: row {seq}{command}{topic}: {flaw}"));
            line(format!("{rows} rows before it are whole, of {commands} commands"));
        }
    }
    if *unchained > 0 {
        line(format!("{unchained} of them have no hash: they are from before there was a chain"));
    }
    if let Some(Removed { rows, head }) = removed {
        line(format!("{rows} rows were removed when they were old, the last of them {head}"));
    }
    match (head, broken) {
        (_, Some(_)) => {}
        (Some(head), None) => line(format!("head {head}")),
        (None, None) => line("no head yet: no row has a hash".into()),
    }
    report
}
