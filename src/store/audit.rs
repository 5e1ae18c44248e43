//! The chain by which a row of the command log that was changed is found.
//!
//! The hash of each row covers the row and the hash of the row before it. Whoever changes, removes or moves a row would
//! have to write anew every hash that follows.

use entity::{anchors, command_states as states, commands};
use sea_orm::{DbErr, QueryOrder, QuerySelect, entity::prelude::*};
use sha2::{Digest, Sha256};

mod removal;
mod rows;
mod verify;
mod walk;

pub use removal::OldCommands;
pub use verify::verify;
pub use walk::{Audit, Broken, Flaw, Head, Removed};

/// SHA-256.
pub(super) type Hash = [u8; 32];

/// What stands for the hash of the row before the first one.
pub(super) const START: Hash = [0; 32];

/// Of the form in which a row is hashed, in front of it: another form gets another number.
const VERSION: u8 = 1;

/// A row of the command log with all that its hash covers.
pub(super) struct Link<'a> {
    pub(super) state: &'a states::Model,
    /// The moment of its entry in the journal.
    pub(super) at: i64,
    /// In the first row of a command: the command, and the name of what it is for.
    pub(super) begun: Option<(&'a commands::Model, &'a str)>,
}

impl Link<'_> {
    /// The hash of this row, after a row with the hash `before`.
    pub(super) fn hash(&self, before: &Hash) -> Hash {
        // Each column is named, so that none is forgotten.
        let states::Model {
            seq,
            command,
            state,
            delivery,
            ambiguous,
            reason,
            mismatches,
            answer_seq,
            answer_at,
            answer_topic,
            answer,
            late,
            hash: _,
        } = self.state;
        let mut form = Form::after(before);
        form.long(*seq);
        form.long(self.at);
        form.long(*command);
        form.short(*state);
        form.if_any(delivery.as_ref(), |form, delivery| form.short(*delivery));
        form.flag(*ambiguous);
        form.if_any(reason.as_ref(), |form, reason| form.bytes(reason.as_bytes()));
        form.if_any(mismatches.as_ref(), |form, mismatches| form.bytes(mismatches.as_bytes()));
        form.if_any(answer_seq.as_ref(), |form, seq| form.long(*seq));
        form.if_any(answer_at.as_ref(), |form, at| form.long(*at));
        form.if_any(answer_topic.as_ref(), |form, topic| form.bytes(topic.as_bytes()));
        form.if_any(answer.as_ref(), |form, answer| form.bytes(answer));
        form.flag(*late);
        form.if_any(self.begun, |form, (command, name)| form.command(command, name));
        form.0.finalize().into()
    }
}

/// Bytes that no two different rows have in common: numbers big-endian in the width of their type, a byte before
/// what may be absent, and its length in eight bytes before what has one.
struct Form(Sha256);

impl Form {
    fn after(before: &Hash) -> Form {
        let mut form = Form(Sha256::new_with_prefix(before));
        form.0.update([VERSION]);
        form
    }

    fn command(&mut self, command: &commands::Model, name: &str) {
        let commands::Model {
            id,
            // Its name stands for it.
            source: _,
            topic,
            payload,
            qos,
            action,
            surface,
            client_id,
            address,
            idempotency_key,
            accepted_at,
            timeout_ms,
            // As in the newest of its rows.
            state: _,
        } = command;
        self.long(*id);
        self.bytes(name.as_bytes());
        self.bytes(topic.as_bytes());
        self.bytes(payload);
        self.short(*qos);
        self.short(*action);
        self.short(*surface);
        self.if_any(client_id.as_ref(), |form, id| form.bytes(id.as_bytes()));
        self.if_any(address.as_ref(), |form, address| form.bytes(address.as_bytes()));
        self.if_any(idempotency_key.as_ref(), |form, key| form.bytes(key.as_bytes()));
        self.long(*accepted_at);
        self.if_any(timeout_ms.as_ref(), |form, timeout| form.long(*timeout));
    }

    fn if_any<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Form, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn flag(&mut self, yes: bool) {
        self.0.update([u8::from(yes)]);
    }

    fn short(&mut self, number: i16) {
        self.0.update(number.to_be_bytes());
    }

    fn long(&mut self, number: i64) {
        self.0.update(number.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }
}

/// The hash that the next row comes after.
pub(super) async fn last_hash(db: &impl ConnectionTrait) -> Result<Hash, DbErr> {
    let row: Option<(i64, Vec<u8>)> = states::Entity::find()
        .select_only()
        .columns([states::Column::Seq, states::Column::Hash])
        .filter(states::Column::Hash.is_not_null())
        .order_by_desc(states::Column::Seq)
        .into_tuple()
        .one(db)
        .await?;
    let anchor = anchors::Entity::find().order_by_desc(anchors::Column::Seq).one(db).await?;
    let anchor = anchor.map(|anchor| (anchor.seq, anchor.hash));
    // A hash that is none was changed. That is found, and does not keep the gateway from starting.
    let last = row.max(anchor).and_then(|(_, hash)| hash.try_into().ok());
    Ok(last.unwrap_or(START))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use sea_orm::Iterable;

    use super::*;

    /// A row with all that it may have.
    #[derive(Clone, Debug, PartialEq)]
    struct Sample {
        state: states::Model,
        at: i64,
        begun: Option<(commands::Model, String)>,
    }

    impl Sample {
        fn full() -> Sample {
            let state = states::Model {
                seq: 7,
                command: 7,
                state: 5,
                delivery: Some(3),
                ambiguous: true,
                reason: Some("reason".into()),
                mismatches: Some("[]".into()),
                answer_seq: Some(9),
                answer_at: Some(10),
                answer_topic: Some("rig/fan/response".into()),
                answer: Some(b"{}".to_vec()),
                late: true,
                hash: None,
            };
            let command = commands::Model {
                id: 7,
                source: 2,
                topic: "rig/fan/config".into(),
                payload: b"{}".to_vec(),
                qos: 1,
                action: 0,
                surface: 1,
                client_id: Some("client".into()),
                address: Some("127.0.0.1".into()),
                idempotency_key: Some("key".into()),
                accepted_at: 11,
                timeout_ms: Some(5000),
                state: 5,
            };
            Sample { state, at: 12, begun: Some((command, "rig/fan/config".into())) }
        }

        fn hash(&self) -> Hash {
            let begun = self.begun.as_ref().map(|(command, name)| (command, name.as_str()));
            Link { state: &self.state, at: self.at, begun }.hash(&START)
        }

        fn command(&mut self) -> &mut commands::Model {
            &mut self.begun.as_mut().unwrap().0
        }
    }

    /// Changes to a row, each of one column: to another value, and to none where there may be none.
    type Changes<Column> = Vec<(Column, fn(&mut Sample))>;

    fn changes_of_states() -> Changes<states::Column> {
        use states::Column;
        vec![
            (Column::Seq, |row| row.state.seq = 8),
            (Column::Command, |row| row.state.command = 8),
            (Column::State, |row| row.state.state = 6),
            (Column::Delivery, |row| row.state.delivery = Some(2)),
            (Column::Delivery, |row| row.state.delivery = None),
            (Column::Ambiguous, |row| row.state.ambiguous = false),
            (Column::Reason, |row| row.state.reason = Some(String::new())),
            (Column::Reason, |row| row.state.reason = None),
            (Column::Mismatches, |row| row.state.mismatches = Some(String::new())),
            (Column::Mismatches, |row| row.state.mismatches = None),
            (Column::AnswerSeq, |row| row.state.answer_seq = Some(0)),
            (Column::AnswerSeq, |row| row.state.answer_seq = None),
            (Column::AnswerAt, |row| row.state.answer_at = Some(0)),
            (Column::AnswerAt, |row| row.state.answer_at = None),
            (Column::AnswerTopic, |row| row.state.answer_topic = Some(String::new())),
            (Column::AnswerTopic, |row| row.state.answer_topic = None),
            (Column::Answer, |row| row.state.answer = Some(Vec::new())),
            (Column::Answer, |row| row.state.answer = None),
            (Column::Late, |row| row.state.late = false),
        ]
    }

    fn changes_of_commands() -> Changes<commands::Column> {
        use commands::Column;
        vec![
            (Column::Id, |row| row.command().id = 8),
            (Column::Source, |row| row.begun.as_mut().unwrap().1 = "rig/pump/config".into()),
            (Column::Topic, |row| row.command().topic = "rig/fan/confih".into()),
            (Column::Payload, |row| row.command().payload = b"[]".to_vec()),
            (Column::Qos, |row| row.command().qos = 0),
            (Column::Action, |row| row.command().action = 1),
            (Column::Surface, |row| row.command().surface = 2),
            (Column::ClientId, |row| row.command().client_id = Some(String::new())),
            (Column::ClientId, |row| row.command().client_id = None),
            (Column::Address, |row| row.command().address = Some(String::new())),
            (Column::Address, |row| row.command().address = None),
            (Column::IdempotencyKey, |row| row.command().idempotency_key = Some(String::new())),
            (Column::IdempotencyKey, |row| row.command().idempotency_key = None),
            (Column::AcceptedAt, |row| row.command().accepted_at = 0),
            (Column::TimeoutMs, |row| row.command().timeout_ms = Some(0)),
            (Column::TimeoutMs, |row| row.command().timeout_ms = None),
        ]
    }

    /// The columns that are changed, by name; no two changes give the same hash.
    fn changed<Column: ColumnTrait>(changes: Changes<Column>) -> BTreeSet<String> {
        let mut hashes = BTreeSet::from([Sample::full().hash()]);
        let mut columns = BTreeSet::new();
        for (column, change) in changes {
            let mut row = Sample::full();
            change(&mut row);
            assert!(hashes.insert(row.hash()), "{}", column.as_str());
            columns.insert(column.as_str().to_owned());
        }
        columns
    }

    fn all_but<Column: ColumnTrait + Iterable>(left_out: &str) -> BTreeSet<String> {
        Column::iter().map(|column| column.as_str().to_owned()).filter(|name| name != left_out).collect()
    }

    #[test]
    fn every_column_changes_the_hash() {
        assert_eq!(changed(changes_of_states()), all_but::<states::Column>("hash"));
        assert_eq!(changed(changes_of_commands()), all_but::<commands::Column>("state"));
        let full = Sample::full();
        assert_ne!(Sample { at: 0, ..full.clone() }.hash(), full.hash());
        assert_ne!(Sample { begun: None, ..full.clone() }.hash(), full.hash());
    }

    #[test]
    fn what_follows_the_newest_row_does_not_change_the_hash() {
        let mut row = Sample::full();
        row.command().state = 6;
        row.command().source = 3;
        row.state.hash = Some(vec![1; 32]);
        assert_eq!(row.hash(), Sample::full().hash());
    }

    #[test]
    fn the_form_of_a_row_stays_as_it_is() {
        let hash: String = Sample::full().hash().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, "d303102dae997ea2dec78811df9cd36481431aa1d1299836236912f9d0b13d6a");
    }

    /// A row that has one text, cut at two places, in three of its columns; an empty piece may be absent.
    fn cut(text: &str, (first, second): (usize, usize), absent: bool) -> Sample {
        let (first, second) = (first.min(text.len()), second.min(text.len()));
        let (first, second) = (first.min(second), first.max(second));
        let piece =
            |from: usize, to: usize| Some(text[from..to].to_owned()).filter(|it| !absent || !it.is_empty());
        let full = Sample::full();
        let (reason, mismatches) = (piece(0, first), piece(first, second));
        let answer = piece(second, text.len()).map(String::into_bytes);
        let state = states::Model { reason, mismatches, answer_topic: None, answer, ..full.state };
        Sample { state, ..full }
    }

    proptest! {
        // What says whether a value is there, and how long it is, may as well stand in the text.
        #[test]
        fn rows_have_the_same_hash_when_they_are_the_same(
            text in "\u{1}{0,6}|[\0\u{1}a]{0,6}",
            one in (0..6_usize, 0..6_usize),
            other in (0..6_usize, 0..6_usize),
            absent in any::<(bool, bool)>(),
        ) {
            let (one, other) = (cut(&text, one, absent.0), cut(&text, other, absent.1));
            prop_assert_eq!(one.hash() == other.hash(), one == other);
        }
    }
}
