//! The chain of the command log, read from its beginning and compared with what stands in the rows.

use std::path::Path;

use entity::{anchors, commands};
use futures_util::TryStreamExt;
use sea_orm::{
    DatabaseConnection, DbErr, FromQueryResult, QueryOrder, entity::prelude::*,
    sqlx::sqlite::SqliteConnectOptions,
};

use super::{
    rows::{PAGE, Row, page, unbegun, untold},
    walk::{Audit, Broken, Flaw, Head, Walk},
};
use crate::{
    error::Error,
    model::Seq,
    store::{connect, file, reading},
};

/// Reads the whole command log of a database, which a gateway may be using. `noted` is a head that must be in it.
///
/// Refuses what is not a database of this version. Writes nothing.
pub async fn verify(database: &Path, noted: Option<Head>) -> Result<Audit, Error> {
    let path = file::ours(database)?;
    let closed = file::is_closed(&path);
    let audit = look(&path, closed, noted).await;
    if closed && !file::is_closed(&path) {
        // A gateway has begun to write under our eyes.
        return look(&path, false, noted).await;
    }
    audit
}

/// A file that is closed is read as it is, and nothing is left beside it: it may lie where nothing can be written.
async fn look(path: &Path, closed: bool, noted: Option<Head>) -> Result<Audit, Error> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(closed);
    let db = connect(reading(options), 1).await?;
    file::refuse_other_versions(&db, path).await?;
    let audit = walk(&db, noted).await;
    db.close().await?;
    Ok(audit?)
}

async fn walk(db: &DatabaseConnection, noted: Option<Head>) -> Result<Audit, DbErr> {
    loop {
        let before = anchors(db).await?;
        let audit = walk_from(db, before.clone(), noted).await?;
        // Rows that are removed under our eyes are not there, and nothing is wrong with that.
        if audit.broken.is_none() || anchors(db).await? == before {
            return Ok(audit);
        }
    }
}

async fn walk_from(
    db: &DatabaseConnection,
    anchors: Vec<anchors::Model>,
    noted: Option<Head>,
) -> Result<Audit, DbErr> {
    let removed = anchors.last().map_or(0, |anchor| anchor.seq);
    let mut walk = Walk::new(anchors, noted);
    walk.missing = missing(db, removed).await?;
    let (mut after, mut more) = (i64::MIN, true);
    while more {
        let statement = db.get_database_backend().build(&page(after));
        let mut rows = Row::find_by_statement(statement).stream(db).await?;
        let mut count = 0;
        while let Some(row) = rows.try_next().await? {
            (after, count) = (row.seq, count + 1);
            if let Err(broken) = walk.step(row) {
                walk.audit.broken = Some(broken);
                return Ok(walk.audit);
            }
        }
        more = count == PAGE;
    }
    Ok(walk.end())
}

/// Where the chain goes on after rows that were removed.
pub(super) async fn anchors(db: &DatabaseConnection) -> Result<Vec<anchors::Model>, DbErr> {
    anchors::Entity::find().order_by_asc(anchors::Column::Seq).all(db).await
}

/// The first row after `removed` of which the journal or the table of commands knows, and that is not there.
async fn missing(db: &DatabaseConnection, removed: i64) -> Result<Option<Broken>, DbErr> {
    let mut first: Option<Broken> = None;
    for query in [untold(removed), unbegun(removed)] {
        let statement = db.get_database_backend().build(&query);
        let Some(row) = db.query_one_raw(statement).await? else { continue };
        let Some(seq) = row.try_get("", "seq")? else { continue };
        if first.as_ref().is_none_or(|first| seq < first.seq.0) {
            first = Some(Broken { seq: Seq(seq), command: None, topic: None, flaw: Flaw::Missing });
        }
    }
    let Some(mut broken) = first else { return Ok(None) };
    if let Some(command) = commands::Entity::find_by_id(broken.seq.0).one(db).await? {
        (broken.command, broken.topic) = (Some(broken.seq), Some(command.topic));
    }
    Ok(Some(broken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{CommandState, Delivery},
        store::{
            audit::START,
            samples::{House, accepted, accepted_by_service, command, moved, reading},
        },
    };

    impl House {
        pub(in crate::store) async fn audit(&self) -> Audit {
            self.audit_with(None).await
        }

        pub(in crate::store) async fn audit_with(&self, noted: Option<Head>) -> Audit {
            walk(self.store.db(), noted).await.unwrap()
        }
    }

    /// Two commands, one after the other and one for a service, in rows 1, 2, 3, 5 and 6.
    async fn house() -> House {
        let mut house = House::new().await;
        let play = accepted(&mut house, "pump", None).await;
        let config = accepted_by_service(&mut house, "rig/fan/config").await;
        let play = moved(&mut house, play, CommandState::Published, None).await;
        house.append(&mut [reading("pump", 20.0)]).await;
        moved(&mut house, play, CommandState::Unconfirmable, Some(Delivery::Sent)).await;
        moved(&mut house, config, CommandState::Published, None).await;
        house
    }

    /// Rows, commands, and the seq of the head, of a log in which nothing is broken.
    fn told(audit: &Audit) -> (u64, u64, Option<i64>) {
        assert_eq!(audit.broken, None);
        (audit.rows, audit.commands, audit.head.map(|head| head.seq.0))
    }

    #[tokio::test]
    async fn an_empty_log_is_whole() {
        assert_eq!(House::new().await.audit().await, Audit::default());
    }

    #[tokio::test]
    async fn the_chain_goes_on_after_a_restart() {
        let house = house().await;
        let before = house.audit().await;
        assert_eq!(told(&before), (5, 2, Some(6)));
        let mut house = house.restarted().await;
        assert_eq!(house.audit().await, before);
        house.append(&mut [command("pump"), reading("pump", 20.0), command("pump")]).await;
        assert_eq!(told(&house.audit().await), (7, 4, Some(9)));
    }

    #[tokio::test]
    async fn a_failed_batch_leaves_the_chain_whole() {
        let mut house = house().await;
        let before = house.audit().await;
        house.journal.execute("PRAGMA query_only = ON").await;
        assert!(house.journal.append(&mut [command("pump")]).await.is_err());
        house.journal.execute("PRAGMA query_only = OFF").await;
        assert_eq!(house.audit().await, before);
        house.append(&mut [command("pump")]).await;
        assert_eq!(told(&house.audit().await), (6, 3, Some(7)));
    }

    #[tokio::test]
    async fn a_long_log_is_read_to_its_end() {
        let mut house = House::new().await;
        let mut drafts = vec![command("pump"); PAGE as usize * 2];
        house.append(&mut drafts).await;
        assert_eq!(told(&house.audit().await), (2000, 2000, Some(2000)));
        house.append(&mut [command("pump")]).await;
        house.journal.execute("UPDATE command_states SET late = 1 WHERE seq = 2001").await;
        let audit = house.audit().await;
        assert_eq!((audit.rows, audit.broken.unwrap().seq), (2000, Seq(2001)));
    }

    #[tokio::test]
    async fn rows_from_before_the_chain_are_counted_and_come_first() {
        let house = house().await;
        house.journal.execute("UPDATE command_states SET hash = NULL").await;
        let mut house = house.restarted().await;
        let audit = house.audit().await;
        assert_eq!((told(&audit), audit.unchained), ((5, 2, None), 5));
        house.append(&mut [command("pump")]).await;
        let audit = house.audit().await;
        assert_eq!((told(&audit), audit.unchained), ((6, 3, Some(7)), 5));
        house.append(&mut [command("pump")]).await;
        house.journal.execute("UPDATE command_states SET hash = NULL WHERE seq = 8").await;
        assert_eq!(house.audit().await.broken.unwrap().flaw, Flaw::Unchained);
        house.journal.execute("UPDATE command_states SET hash = NULL WHERE seq = 7").await;
        assert_eq!(house.audit().await.unchained, 7, "nothing is left of the chain, and that is told");
    }

    #[tokio::test]
    async fn the_first_row_that_was_changed_is_named() {
        let service = || (Some(2), Some("rig/fan/config"));
        let device = || (Some(1), Some("commands/pump/play"));
        let neither = || (None, None);
        for (sql, seq, (command, topic), flaw) in [
            ("UPDATE commands SET payload = CAST('falsy' AS BLOB) WHERE id = 1", 1, device(), Flaw::Hash),
            ("UPDATE commands SET source = 1 WHERE id = 2", 2, service(), Flaw::EntryMissing),
            ("UPDATE sources SET name = 'rig/fun/config' WHERE class = 3", 2, service(), Flaw::Hash),
            ("UPDATE command_states SET state = 6 WHERE seq = 6", 6, service(), Flaw::Hash),
            ("UPDATE command_states SET state = 6 WHERE seq >= 3", 3, device(), Flaw::Hash),
            ("UPDATE command_states SET reason = '' WHERE seq = 5", 5, device(), Flaw::Hash),
            ("UPDATE command_states SET hash = zeroblob(32) WHERE seq = 3", 3, device(), Flaw::Hash),
            ("UPDATE command_states SET hash = x'00' WHERE seq = 3", 3, device(), Flaw::Hash),
            ("UPDATE command_states SET hash = NULL WHERE seq = 3", 3, device(), Flaw::Unchained),
            ("UPDATE command_states SET hash = NULL WHERE seq <= 2", 3, device(), Flaw::Hash),
            ("UPDATE command_states SET command = 2 WHERE seq = 3", 3, service(), Flaw::EntryMissing),
            ("UPDATE journal SET at = at + 1 WHERE seq = 3", 3, device(), Flaw::Hash),
            ("UPDATE journal SET kind = 1 WHERE seq = 3", 3, device(), Flaw::EntryMissing),
            ("DELETE FROM journal WHERE seq = 6", 6, service(), Flaw::EntryMissing),
            ("UPDATE commands SET state = 5 WHERE id = 2", 6, service(), Flaw::State),
            ("DELETE FROM command_states WHERE seq = 3", 3, neither(), Flaw::Missing),
            ("DELETE FROM command_states WHERE seq = 6", 6, neither(), Flaw::Missing),
            ("DELETE FROM command_states WHERE seq = 2", 2, service(), Flaw::Missing),
            ("DELETE FROM commands WHERE id = 2", 2, (Some(2), None), Flaw::CommandMissing),
            (
                "DELETE FROM command_states WHERE seq = 3; DELETE FROM journal WHERE seq = 3",
                5,
                device(),
                Flaw::Hash,
            ),
            (
                "DELETE FROM command_states WHERE command = 1; DELETE FROM journal WHERE source = 1;
                 DELETE FROM commands WHERE id = 1",
                2,
                service(),
                Flaw::Hash,
            ),
            (
                "UPDATE command_states SET seq = -seq WHERE seq IN (3, 5);
                 UPDATE command_states SET seq = 8 + seq WHERE seq < 0",
                3,
                device(),
                Flaw::Hash,
            ),
            (
                "INSERT INTO command_states (seq, command, state, ambiguous, late) VALUES (4, 1, 5, 0, 0)",
                4,
                device(),
                Flaw::EntryMissing,
            ),
        ] {
            let house = house().await;
            house.journal.execute(sql).await;
            let wanted =
                Broken { seq: Seq(seq), command: command.map(Seq), topic: topic.map(str::to_owned), flaw };
            assert_eq!(house.audit().await.broken, Some(wanted), "{sql}");
        }
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_is_named() {
        for sql in [
            "UPDATE command_states SET reason = CAST(x'ff' AS TEXT) WHERE seq = 3",
            "UPDATE command_states SET state = 70000 WHERE seq = 3",
            "UPDATE command_states SET answer_at = 'soon' WHERE seq = 3",
        ] {
            let house = house().await;
            house.journal.execute(sql).await;
            let broken = house.audit().await.broken.unwrap();
            assert_eq!((broken.seq, broken.command), (Seq(3), Some(Seq(1))), "{sql}");
            assert!(matches!(broken.flaw, Flaw::Unreadable(_)), "{sql}: {}", broken.flaw);
        }
    }

    #[tokio::test]
    async fn an_anchor_behind_a_row_that_stands_hides_nothing() {
        let house = house().await;
        let sql = "UPDATE command_states SET reason = 'x' WHERE seq = 3;
             INSERT INTO anchors (seq, hash) SELECT seq, hash FROM command_states WHERE seq = 3";
        house.journal.execute(sql).await;
        assert_eq!(house.audit().await.broken.unwrap().seq, Seq(3));
        house.journal.execute("DELETE FROM anchors; DELETE FROM command_states WHERE seq = 3").await;
        house.journal.execute("INSERT INTO anchors VALUES (3, zeroblob(32), 3)").await;
        assert_eq!(house.audit().await.broken.unwrap().seq, Seq(3));
    }

    #[tokio::test]
    async fn a_head_that_was_noted_is_found_or_missed() {
        let mut house = house().await;
        let noted = house.audit().await.head;
        accepted(&mut house, "pump", None).await;
        assert_eq!(told(&house.audit_with(noted).await), (6, 3, Some(7)));

        // Whoever can write the file can write another chain, but not one with that hash.
        house.journal.execute("UPDATE command_states SET hash = NULL").await;
        assert_eq!(house.audit().await.broken, None);
        let broken = house.audit_with(noted).await.broken.unwrap();
        assert_eq!((broken.seq, broken.flaw), (Seq(6), Flaw::Noted));
        let other = noted.map(|head| Head { hash: START, ..head });
        assert_eq!(self::house().await.audit_with(other).await.broken.unwrap().flaw, Flaw::Noted);
    }

    #[tokio::test]
    async fn a_head_is_written_as_it_is_read() {
        let head = house().await.audit().await.head.unwrap();
        let text = head.to_string();
        assert!(text.starts_with("6:") && text.len() == 66, "{text}");
        assert_eq!(text.parse(), Ok(head));
        for wrong in ["", "6", "6:", "x:00", &text[..65], &format!("{text}0"), &format!("0{text}")] {
            assert!(wrong.parse::<Head>().is_err(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn the_log_is_read_by_its_indexes() {
        let house = House::new().await;
        for query in [page(0), untold(0), unbegun(0)] {
            let plan = house.plan(&query).await;
            let scans = plan.iter().filter(|step| step.starts_with("SCAN") && !step.contains("sources"));
            assert_eq!(scans.count(), 0, "{plan:?}");
            assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:?}");
        }
    }
}
