//! A command as rows: one for what was asked, and one for each of its states.

use entity::{command_states as states, commands, journal, sources};
use sea_orm::{
    FromQueryResult,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};

use super::{
    events::nameless,
    unreadable,
    words::{NO_ACTION, Word},
};
use crate::{
    error::Error,
    model::{Action, Answer, CommandRecord, CommandState, Delivery, Seq, Surface, Target, Timestamp},
};

/// What was asked, of the source with this id.
pub(super) fn command_row(record: &CommandRecord, source: i64) -> commands::Model {
    commands::Model {
        id: record.id.0,
        source,
        topic: record.topic.clone(),
        payload: record.payload.clone().into_bytes(),
        qos: record.qos.into(),
        action: record.target.action().map_or(NO_ACTION, Word::number),
        surface: record.surface.number(),
        client_id: record.client_id.clone(),
        address: record.address.clone(),
        idempotency_key: record.idempotency_key.clone(),
        accepted_at: record.accepted_at.0,
        timeout_ms: record.timeout_ms.map(Into::into),
        state: record.state.number(),
    }
}

/// How far it came, not in the chain yet.
pub(super) fn state_row(record: &CommandRecord) -> Result<states::Model, serde_json::Error> {
    let mismatches = Some(&record.mismatches).filter(|mismatches| !mismatches.is_empty());
    let answer = record.answer.as_ref();
    Ok(states::Model {
        seq: record.seq.0,
        command: record.id.0,
        state: record.state.number(),
        delivery: record.delivery.map(Word::number),
        ambiguous: record.ambiguous,
        reason: record.reason.clone(),
        mismatches: mismatches.map(serde_json::to_string).transpose()?,
        answer_seq: answer.map(|answer| answer.seq.0),
        answer_at: answer.map(|answer| answer.at.0),
        answer_topic: answer.map(|answer| answer.topic.clone()),
        answer: answer.map(|answer| answer.payload.clone().into_bytes()),
        late: answer.is_some_and(|answer| answer.late),
        hash: None,
    })
}

/// A state of a command, with all that is known of the command.
#[derive(FromQueryResult)]
pub(super) struct CommandRow {
    id: i64,
    seq: i64,
    accepted_at: i64,
    at: i64,
    source: String,
    action: i16,
    topic: String,
    payload: Vec<u8>,
    qos: i16,
    state: i16,
    delivery: Option<i16>,
    surface: i16,
    client_id: Option<String>,
    address: Option<String>,
    idempotency_key: Option<String>,
    timeout_ms: Option<i64>,
    ambiguous: bool,
    reason: Option<String>,
    mismatches: Option<String>,
    answer_seq: Option<i64>,
    answer_at: Option<i64>,
    answer_topic: Option<String>,
    answer: Option<Vec<u8>>,
    late: bool,
}

impl CommandRow {
    pub(super) fn select() -> SelectStatement {
        let column = |column: commands::Column| column.as_column_ref();
        Query::select()
            .columns([
                states::Column::Seq.as_column_ref(),
                states::Column::State.as_column_ref(),
                states::Column::Delivery.as_column_ref(),
                states::Column::Ambiguous.as_column_ref(),
                states::Column::Reason.as_column_ref(),
                states::Column::Mismatches.as_column_ref(),
                states::Column::AnswerSeq.as_column_ref(),
                states::Column::AnswerAt.as_column_ref(),
                states::Column::AnswerTopic.as_column_ref(),
                states::Column::Answer.as_column_ref(),
                states::Column::Late.as_column_ref(),
                journal::Column::At.as_column_ref(),
                column(commands::Column::Id),
                column(commands::Column::AcceptedAt),
                column(commands::Column::Action),
                column(commands::Column::Topic),
                column(commands::Column::Payload),
                column(commands::Column::Qos),
                column(commands::Column::Surface),
                column(commands::Column::ClientId),
                column(commands::Column::Address),
                column(commands::Column::IdempotencyKey),
                column(commands::Column::TimeoutMs),
            ])
            .expr_as(Expr::col(sources::Column::Name.as_column_ref()), "source")
            .from(states::Entity)
            .inner_join(
                commands::Entity,
                Expr::col(column(commands::Column::Id))
                    .eq(Expr::col(states::Column::Command.as_column_ref())),
            )
            .inner_join(
                sources::Entity,
                Expr::col(sources::Column::Id.as_column_ref())
                    .eq(Expr::col(column(commands::Column::Source))),
            )
            .inner_join(
                journal::Entity,
                Expr::col(journal::Column::Seq.as_column_ref())
                    .eq(Expr::col(states::Column::Seq.as_column_ref())),
            )
            .take()
    }

    /// What a device and who commands it choose the size of, in bytes.
    pub(super) fn weight(&self) -> usize {
        let answer = self.answer.as_ref().map_or(0, Vec::len);
        let texts = [&self.reason, &self.mismatches].into_iter().flatten().map(String::len);
        self.payload.len() + answer + texts.sum::<usize>()
    }

    pub(super) fn record(self) -> Result<CommandRecord, Error> {
        let target = if self.action == NO_ACTION {
            Target::Service(self.source.parse().map_err(|_| nameless(self.seq, &self.source))?)
        } else {
            Target::Device { device: self.source, action: Action::of(self.action, self.seq)? }
        };
        let answer = match (self.answer_seq, self.answer_at, self.answer_topic, self.answer) {
            (Some(seq), Some(at), Some(topic), Some(payload)) => Some(Answer {
                seq: Seq(seq),
                at: Timestamp(at),
                topic,
                payload: String::from_utf8(payload).map_err(|why| unreadable(self.seq, why))?,
                late: self.late,
            }),
            _ => None,
        };
        Ok(CommandRecord {
            id: Seq(self.id),
            seq: Seq(self.seq),
            accepted_at: Timestamp(self.accepted_at),
            at: Timestamp(self.at),
            target,
            topic: self.topic,
            payload: String::from_utf8(self.payload).map_err(|why| unreadable(self.seq, why))?,
            qos: u8::try_from(self.qos).map_err(|why| unreadable(self.seq, why))?,
            state: CommandState::of(self.state, self.seq)?,
            delivery: self.delivery.map(|number| Delivery::of(number, self.seq)).transpose()?,
            surface: Surface::of(self.surface, self.seq)?,
            client_id: self.client_id,
            address: self.address,
            idempotency_key: self.idempotency_key,
            timeout_ms: self
                .timeout_ms
                .map(u32::try_from)
                .transpose()
                .map_err(|why| unreadable(self.seq, why))?,
            ambiguous: self.ambiguous,
            reason: self.reason,
            mismatches: self
                .mismatches
                .as_deref()
                .map_or(Ok(Vec::new()), serde_json::from_str)
                .map_err(|why| unreadable(self.seq, why))?,
            answer,
        })
    }
}
