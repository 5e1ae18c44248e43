//! The oldest rows of the command log, which are removed when they are old.
//!
//! Only a beginning of the chain is ever removed, and an anchor takes its place in the same transaction. Nothing is removed
//! from where a row is not as it was written, so that it is still found.

use std::collections::BTreeMap;

use entity::{anchors, command_states as states, commands, journal, overrides};
use futures_util::TryStreamExt;
use sea_orm::{
    DatabaseTransaction, DbErr, FromQueryResult, IntoActiveModel, entity::prelude::*, sea_query::OnConflict,
};
use tracing::warn;

use super::{
    Hash, START,
    rows::{Row, Whole, page},
    verify,
    walk::Walk,
};
use crate::{
    error::Error,
    model::{CommandState, Seq, Timestamp},
    store::{
        Store,
        words::{NO_ACTION, Word},
    },
};

/// Rows that are removed in one transaction: some milliseconds, for which everybody else waits.
const STEP_ROWS: usize = 250;
/// And what their commands and answers may weigh after the first, in bytes: the pages of large ones are freed one by one.
const STEP_BYTES: usize = 1024 * 1024;

/// Rows at the beginning of the command log, and what takes their place.
#[derive(Debug)]
pub struct OldCommands {
    rows: Vec<i64>,
    /// Those of which no row is left.
    commands: Vec<i64>,
    /// What went out last to each device.
    overrides: BTreeMap<i64, overrides::Model>,
    anchor: anchors::Model,
}

/// A row that may go.
struct Old {
    seq: i64,
    command: i64,
    /// The newest row of its command.
    newest: i64,
    /// What went out with it, if that is for a device.
    told: Option<overrides::Model>,
    hash: Option<Hash>,
}

impl Store {
    /// The first rows of the command log that are older than a moment and stand before a place in the journal: as many as
    /// are removed in one go. No command among them is under way. None when there are none.
    pub async fn old_commands(&self, than: Timestamp, before: Seq) -> Result<Option<OldCommands>, Error> {
        let db = self.db();
        let anchors = verify::anchors(db).await?;
        let removed = anchors.last().map_or(0, |anchor| anchor.rows);
        let mut walk = Walk::new(anchors, None);
        let statement = db.get_database_backend().build(&page(i64::MIN));
        let mut rows = Row::find_by_statement(statement).stream(db).await?;
        let (mut found, mut room, mut full) = (Vec::new(), STEP_BYTES, false);
        while let Some(row) = rows.try_next().await? {
            let Ok(whole) = &row.whole else { break };
            let weight = whole.weight();
            full = found.len() == STEP_ROWS || (weight > room && !found.is_empty());
            if full || row.seq >= before.0 || !whole.is_old(than)? {
                break;
            }
            room = room.saturating_sub(weight);
            let Some(mut old) = Old::of(whole) else { break };
            if let Err(broken) = walk.step(row) {
                let seq = broken.seq;
                warn!(%seq, "nothing is removed from the command log from row {seq} on: {}", broken.flaw);
                break;
            }
            old.hash = walk.last;
            found.push(old);
        }
        Ok(cut(&found, full).map(|rows| OldCommands::of(rows, removed)))
    }

    /// The last place at which a row was removed from the command log: before it the journal is not whole.
    pub async fn commands_removed(&self) -> Result<Seq, Error> {
        let anchors = verify::anchors(self.db()).await?;
        Ok(anchors.last().map_or(Seq::ZERO, |anchor| Seq(anchor.seq)))
    }
}

/// As many of the rows as end with no command in its middle. When a whole step has no such place, because commands overlap
/// without end, all of them.
fn cut(rows: &[Old], full: bool) -> Option<&[Old]> {
    let mut newest = i64::MIN;
    let ends = |row: &Old| {
        newest = newest.max(row.newest);
        newest <= row.seq
    };
    let ends: Vec<bool> = rows.iter().map(ends).collect();
    let count = ends.iter().rposition(|ends| *ends).map_or(if full { rows.len() } else { 0 }, |at| at + 1);
    rows.get(..count).filter(|rows| !rows.is_empty())
}

impl Whole {
    fn is_old(&self, than: Timestamp) -> Result<bool, Error> {
        let (Some(command), Some(at)) = (&self.command, self.at) else { return Ok(false) };
        Ok(at < than.0 && CommandState::of(command.state, self.state.seq)?.is_final())
    }

    /// What a device and who commands it choose the size of, in bytes.
    fn weight(&self) -> usize {
        let payload = self.command.as_ref().map_or(0, |command| command.payload.len());
        payload + self.state.answer.as_ref().map_or(0, Vec::len)
    }
}

impl Old {
    fn of(whole: &Whole) -> Option<Old> {
        let (state, command) = (&whole.state, whole.command.as_ref()?);
        let out = state.state == CommandState::Published.number()
            || (state.state == CommandState::Unconfirmable.number() && state.seq == state.command);
        let told = overrides::Model { source: command.source, seq: state.seq, action: command.action };
        Some(Old {
            seq: state.seq,
            command: state.command,
            newest: whole.newest,
            told: Some(told).filter(|_| out && command.action != NO_ACTION),
            hash: None,
        })
    }
}

impl OldCommands {
    fn of(rows: &[Old], removed: i64) -> OldCommands {
        let last = rows.last().expect("there is a row");
        let ended = rows.iter().filter(|row| row.newest == row.seq);
        let told = rows.iter().filter_map(|row| row.told.clone());
        OldCommands {
            rows: rows.iter().map(|row| row.seq).collect(),
            commands: ended.map(|row| row.command).collect(),
            overrides: told.map(|told| (told.source, told)).collect(),
            anchor: anchors::Model {
                seq: last.seq,
                hash: last.hash.unwrap_or(START).to_vec(),
                rows: removed + rows.len() as i64,
            },
        }
    }

    /// How many rows they are.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    pub(in crate::store) async fn remove(self, transaction: &DatabaseTransaction) -> Result<(), DbErr> {
        let OldCommands { rows, commands, overrides, anchor } = self;
        journal::Entity::delete_many()
            .filter(journal::Column::Seq.is_in(rows.iter().copied()))
            .exec(transaction)
            .await?;
        states::Entity::delete_many().filter(states::Column::Seq.is_in(rows)).exec(transaction).await?;
        commands::Entity::delete_many()
            .filter(commands::Column::Id.is_in(commands))
            .exec(transaction)
            .await?;
        let overrides: Vec<_> = overrides.into_values().map(IntoActiveModel::into_active_model).collect();
        if !overrides.is_empty() {
            let newest = OnConflict::column(overrides::Column::Source)
                .update_columns([overrides::Column::Seq, overrides::Column::Action])
                .to_owned();
            overrides::Entity::insert_many(overrides)
                .on_conflict(newest)
                .exec_without_returning(transaction)
                .await?;
        }
        anchors::Entity::delete_many().exec(transaction).await?;
        anchors::Entity::insert(anchor.into_active_model()).exec_without_returning(transaction).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Action, Delivery, Event},
        store::{
            WentOut,
            audit::{Flaw, Head},
            samples::{House, accepted, accepted_by_service, command, large_command, moved, reading},
        },
    };

    /// Later than all that the samples say.
    const LATER: Timestamp = Timestamp(i64::MAX);

    impl House {
        /// Removes what is old, step by step; tells how many rows each step had.
        async fn remove(&mut self, than: Timestamp, before: Seq) -> Vec<usize> {
            let mut steps = Vec::new();
            while let Some(old) = self.store.old_commands(than, before).await.unwrap() {
                steps.push(old.count());
                self.journal.remove(old).await.unwrap();
            }
            steps
        }

        async fn remove_all(&mut self) -> Vec<usize> {
            let head = self.journal.head();
            self.remove(LATER, head).await
        }

        /// A command for a device that is out and has come to its end, in three rows.
        async fn play(&mut self, device: &str) {
            let record = accepted(self, device, None).await;
            let record = moved(self, record, CommandState::Published, None).await;
            moved(self, record, CommandState::Unconfirmable, Some(Delivery::Sent)).await;
        }

        /// Which rows stand, in the log and in the journal.
        async fn standing(&self) -> (Vec<i64>, Vec<i64>, Vec<i64>) {
            let db = self.store.db();
            let states = states::Entity::find().all(db).await.unwrap().into_iter().map(|row| row.seq);
            let commands = commands::Entity::find().all(db).await.unwrap().into_iter().map(|row| row.id);
            let entries = self.store.events(Seq::ZERO, 1_000).await.unwrap();
            (states.collect(), commands.collect(), entries.iter().map(|event| event.seq().0).collect())
        }
    }

    #[tokio::test]
    async fn what_is_removed_leaves_an_anchor() {
        let mut house = House::new().await;
        house.play("pump").await;
        house.append(&mut [reading("pump", 20.0)]).await;
        house.play("pump").await;
        let head = house.audit().await.head;

        assert_eq!(house.remove(LATER, Seq(7)).await, [3]);
        assert_eq!(house.standing().await, (vec![5, 6, 7], vec![5], vec![4, 5, 6, 7]));
        let audit = house.audit().await;
        assert_eq!((audit.broken, audit.rows, audit.commands, audit.head), (None, 3, 1, head));
        let removed = audit.removed.unwrap();
        assert_eq!((removed.rows, removed.head.seq), (3, Seq(3)));

        house.append(&mut [reading("pump", 20.0)]).await;
        assert_eq!(house.remove_all().await, [3]);
        assert_eq!(house.standing().await, (vec![], vec![], vec![4, 8]));
        let mut house = house.restarted().await;
        let audit = house.audit().await;
        assert_eq!((audit.broken, audit.rows, audit.head), (None, 0, head));
        assert_eq!(audit.removed.map(|removed| (removed.rows, Some(removed.head))), Some((6, head)));
        house.append(&mut [command("pump")]).await;
        let audit = house.audit().await;
        assert_eq!((audit.broken, audit.rows), (None, 1));
    }

    #[tokio::test]
    async fn what_is_young_or_new_or_under_way_stays() {
        let mut house = House::new().await;
        house.play("a").await;
        let open = accepted(&mut house, "b", None).await;
        house.play("c").await;
        house.append(&mut [reading("a", 20.0)]).await;
        let at = open.at;
        // The third row of the first command is two microseconds younger than its first.
        assert_eq!(house.remove(at, Seq(8)).await, [0; 0]);
        assert_eq!(house.remove(Timestamp(at.0 + 2), Seq(8)).await, [0; 0]);
        assert_eq!(house.remove(LATER, Seq(3)).await, [0; 0]);
        assert_eq!(house.remove(LATER, Seq(8)).await, [3]);
        moved(&mut house, open, CommandState::Expired, None).await;
        assert_eq!(house.remove_all().await, [0; 0], "the last entry of the journal stays, and its command");
        house.append(&mut [reading("a", 20.0)]).await;
        assert_eq!(house.remove_all().await, [5]);
        assert_eq!(house.standing().await, (vec![], vec![], vec![8, 10]));
    }

    #[tokio::test]
    async fn an_override_outlives_its_command() {
        let mut house = House::new().await;
        house.play("a").await;
        house.play("b").await;
        accepted_by_service(&mut house, "rig/fan/config").await;
        let then = house.journal.head();
        let before = house.store.devices_as_of(then).await.unwrap();
        house.remove_all().await;
        assert_eq!(house.standing().await.0, [7]);
        let mut house = house.restarted().await;
        assert_eq!(house.store.devices_as_of(then).await.unwrap(), before);
        let told = |device: &str, told: &std::collections::HashMap<String, WentOut>| told[device].seq;
        let now = house.store.went_out_last(then).await.unwrap();
        assert_eq!((told("a", &now), told("b", &now), now["a"].action), (Seq(2), Seq(5), Action::Play));
        house.play("a").await;
        let now = house.store.went_out_last(house.journal.head()).await.unwrap();
        assert_eq!((told("a", &now), told("b", &now)), (Seq(9), Seq(5)));
    }

    #[tokio::test]
    async fn steps_are_small_and_end_between_commands() {
        let mut house = House::new().await;
        house.play("a").await;
        let mut drafts = vec![command("a"); 2 * STEP_ROWS];
        for draft in &mut drafts {
            if let Some(Event::Command(record)) = &mut draft.event {
                record.state = CommandState::Expired;
            }
        }
        house.append(&mut drafts.clone()).await;
        house.play("a").await;
        house.append(&mut [reading("a", 20.0)]).await;
        assert_eq!(house.remove_all().await, [STEP_ROWS, STEP_ROWS, 6]);

        // One that ends after many others: a step goes through it, and all is as it was written.
        let mut house = House::new().await;
        let slow = accepted(&mut house, "a", None).await;
        house.append(&mut drafts).await;
        moved(&mut house, slow, CommandState::Expired, None).await;
        house.append(&mut [reading("a", 20.0)]).await;
        let head = house.journal.head();
        let old = house.store.old_commands(LATER, head).await.unwrap().unwrap();
        assert_eq!(old.count(), STEP_ROWS);
        house.journal.remove(old).await.unwrap();
        assert_eq!(house.audit().await.broken, None);
        assert_eq!(house.store.command(Seq(1)).await.unwrap().unwrap().state, CommandState::Expired);
        assert_eq!(house.remove_all().await, [STEP_ROWS, 2]);
        assert_eq!(house.standing().await, (vec![], vec![], vec![head.0]));
    }

    #[tokio::test]
    async fn large_commands_are_removed_a_few_at_a_time() {
        let mut house = House::new().await;
        for _ in 0..9 {
            let mut large = [large_command("rig/a/config")];
            if let Some(Event::Command(record)) = &mut large[0].event {
                record.state = CommandState::Expired;
            }
            house.append(&mut large).await;
        }
        house.append(&mut [reading("a", 20.0)]).await;
        assert_eq!(house.remove_all().await, [4, 4, 1]);
    }

    #[tokio::test]
    async fn what_was_changed_is_not_removed() {
        let mut house = House::new().await;
        for _ in 0..3 {
            house.play("a").await;
        }
        house.append(&mut [reading("a", 20.0)]).await;
        house.journal.execute("UPDATE commands SET payload = CAST('false' AS BLOB) WHERE id = 4").await;
        assert_eq!(house.remove_all().await, [3]);
        let broken = house.audit().await.broken.unwrap();
        assert_eq!((broken.seq, broken.flaw), (Seq(4), Flaw::Hash));
    }

    #[tokio::test]
    async fn what_somebody_else_removed_is_found() {
        let mut house = House::new().await;
        for _ in 0..3 {
            house.play("a").await;
        }
        house.remove(LATER, Seq(5)).await;
        house
            .journal
            .execute("DELETE FROM command_states WHERE seq <= 6; DELETE FROM commands WHERE id = 4")
            .await;
        assert_eq!(house.audit().await.broken.unwrap().flaw, Flaw::Missing);
        house.journal.execute("DELETE FROM journal WHERE seq <= 6").await;
        assert_eq!(house.audit().await.broken.unwrap().seq, Seq(7));
        house.journal.execute("UPDATE anchors SET seq = 6").await;
        assert_eq!(house.audit().await.broken.unwrap().flaw, Flaw::Hash);
    }

    #[tokio::test]
    async fn rows_from_before_the_chain_are_removed_like_others() {
        let mut house = House::new().await;
        house.play("a").await;
        house.play("a").await;
        house.journal.execute("UPDATE command_states SET hash = NULL").await;
        let mut house = house.restarted().await;
        house.play("a").await;
        assert_eq!(house.remove(LATER, Seq(4)).await, [3]);
        let audit = house.audit().await;
        assert_eq!((audit.broken, audit.rows, audit.unchained), (None, 6, 3));
        let mut house = house.restarted().await;
        assert_eq!(house.remove(LATER, Seq(9)).await, [3]);
        house.play("a").await;
        assert_eq!(house.audit().await.broken, None);
    }

    #[tokio::test]
    async fn a_head_that_was_noted_and_removed_is_told_from_one_that_was_changed() {
        let mut house = House::new().await;
        house.play("a").await;
        let noted = house.audit().await.head.unwrap();
        house.play("a").await;
        house.append(&mut [reading("a", 20.0)]).await;
        house.remove(LATER, Seq(4)).await;
        assert_eq!(house.audit_with(Some(noted)).await.broken, None, "the anchor is that row");
        let changed = Head { seq: Seq(3), ..house.audit().await.head.unwrap() };
        assert_eq!(house.audit_with(Some(changed)).await.broken.unwrap().flaw, Flaw::Noted);
        house.remove_all().await;
        assert_eq!(house.audit_with(Some(noted)).await.broken.unwrap().flaw, Flaw::NotedRemoved);
    }

    #[tokio::test]
    async fn entries_that_are_removed_while_they_are_told_are_passed_over() {
        let mut house = House::new().await;
        house.play("a").await;
        house.append(&mut [reading("a", 20.0)]).await;
        // As if the entries had been read before the rows went.
        house.journal.execute("DELETE FROM command_states WHERE seq <= 3").await;
        assert!(house.store.events(Seq::ZERO, 2).await.is_err(), "nothing says that they were removed");
        house.journal.execute("INSERT INTO anchors VALUES (3, zeroblob(32), 3)").await;
        let events = house.store.events(Seq::ZERO, 2).await.unwrap();
        assert_eq!(events.iter().map(Event::seq).collect::<Vec<_>>(), [Seq(4)]);
    }
}
