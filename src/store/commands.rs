//! The command log: what was asked of devices, and how far it came.

use entity::{command_states as states, commands, journal, sources};
use sea_orm::{
    FromQueryResult, JoinType, Order,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};

use super::{Store, unreadable, words::Word};
use crate::{
    error::Error,
    model::{Action, CommandRecord, CommandState, Delivery, Seq, Surface, Timestamp},
};

impl Store {
    /// A command in its newest state.
    pub async fn command(&self, id: Seq) -> Result<Option<CommandRecord>, Error> {
        let mut query = CommandRow::select();
        query.and_where(states::Column::Command.eq(id.0));
        self.newest_command(query).await
    }

    /// The newest command that was sent under an idempotency key, in its newest state.
    pub async fn command_by_key(&self, key: &str) -> Result<Option<CommandRecord>, Error> {
        let mut query = CommandRow::select();
        query.and_where(commands::Column::IdempotencyKey.eq(key));
        self.newest_command(query).await
    }

    /// Commands that have not come to an end, oldest first: after a start, those that the last run left.
    pub async fn unfinished_commands(&self) -> Result<Vec<CommandRecord>, Error> {
        let later = Query::select()
            .expr(Expr::val(1))
            .from_as(states::Entity, "later")
            .and_where(
                Expr::col(("later", states::Column::Command))
                    .eq(Expr::col(states::Column::Command.as_column_ref())),
            )
            .and_where(
                Expr::col(("later", states::Column::Seq)).gt(Expr::col(states::Column::Seq.as_column_ref())),
            )
            .take();
        let unfinished = [CommandState::Accepted.number(), CommandState::Published.number()];
        let mut query = CommandRow::select();
        query
            .and_where(states::Column::State.is_in(unfinished))
            .and_where(Expr::exists(later).not())
            .order_by_expr(Expr::col(states::Column::Command.as_column_ref()), Order::Asc);
        self.command_records(&query).await
    }

    /// The states of commands that the journal tells from `first` to `last`, both inclusive, in order.
    pub(super) async fn commands_between(&self, first: Seq, last: Seq) -> Result<Vec<CommandRecord>, Error> {
        let mut query = CommandRow::select();
        query
            .and_where(states::Column::Seq.between(first.0, last.0))
            .order_by_expr(Expr::col(states::Column::Seq.as_column_ref()), Order::Asc);
        self.command_records(&query).await
    }

    /// The command of each device that was published last, as it was when it went out.
    pub(super) async fn last_published_as_of(&self, seq: Seq) -> Result<Vec<CommandRecord>, Error> {
        let state = |column| Expr::col(("state", column));
        let published = state(states::Column::State).eq(CommandState::Published.number());
        // Another client's command is told once, when it has gone out.
        let told = state(states::Column::State)
            .eq(CommandState::Unconfirmable.number())
            .and(state(states::Column::Seq).eq(state(states::Column::Command)));
        let last = Query::select()
            .expr(state(states::Column::Seq))
            .from_as(commands::Entity, "other")
            .join_as(
                JoinType::InnerJoin,
                states::Entity,
                "state",
                state(states::Column::Command).eq(Expr::col(("other", commands::Column::Id))),
            )
            .and_where(
                Expr::col(("other", commands::Column::Source))
                    .eq(Expr::col(sources::Column::Id.as_column_ref())),
            )
            .and_where(Expr::col(("other", commands::Column::Id)).lte(seq.0))
            .and_where(state(states::Column::Seq).lte(seq.0))
            .and_where(published.or(told))
            .order_by_expr(Expr::col(("other", commands::Column::Id)), Order::Desc)
            .limit(1)
            .take();
        let mut query = CommandRow::select();
        query.and_where(Expr::col(states::Column::Seq.as_column_ref()).eq(last));
        self.command_records(&query).await
    }

    async fn newest_command(&self, mut query: SelectStatement) -> Result<Option<CommandRecord>, Error> {
        query
            .order_by_expr(Expr::col(states::Column::Command.as_column_ref()), Order::Desc)
            .order_by_expr(Expr::col(states::Column::Seq.as_column_ref()), Order::Desc)
            .limit(1);
        Ok(self.command_records(&query).await?.pop())
    }

    async fn command_records(&self, query: &SelectStatement) -> Result<Vec<CommandRecord>, Error> {
        self.rows::<CommandRow>(query).await?.into_iter().map(CommandRow::record).collect()
    }
}

/// A state of a command, with all that is known of the command.
#[derive(FromQueryResult)]
struct CommandRow {
    id: i64,
    seq: i64,
    accepted_at: i64,
    at: i64,
    device: String,
    action: i16,
    topic: String,
    payload: Vec<u8>,
    state: i16,
    delivery: Option<i16>,
    surface: i16,
    client_id: Option<String>,
    address: Option<String>,
    idempotency_key: Option<String>,
}

impl CommandRow {
    fn select() -> SelectStatement {
        let column = |column: commands::Column| column.as_column_ref();
        Query::select()
            .columns([
                states::Column::Seq.as_column_ref(),
                states::Column::State.as_column_ref(),
                states::Column::Delivery.as_column_ref(),
                journal::Column::At.as_column_ref(),
                column(commands::Column::Id),
                column(commands::Column::AcceptedAt),
                column(commands::Column::Action),
                column(commands::Column::Topic),
                column(commands::Column::Payload),
                column(commands::Column::Surface),
                column(commands::Column::ClientId),
                column(commands::Column::Address),
                column(commands::Column::IdempotencyKey),
            ])
            .expr_as(Expr::col(sources::Column::Name.as_column_ref()), "device")
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

    fn record(self) -> Result<CommandRecord, Error> {
        Ok(CommandRecord {
            id: Seq(self.id),
            seq: Seq(self.seq),
            accepted_at: Timestamp(self.accepted_at),
            at: Timestamp(self.at),
            device: self.device,
            action: Action::of(self.action, self.seq)?,
            topic: self.topic,
            payload: String::from_utf8(self.payload).map_err(|why| unreadable(self.seq, why))?,
            state: CommandState::of(self.state, self.seq)?,
            delivery: self.delivery.map(|number| Delivery::of(number, self.seq)).transpose()?,
            surface: Surface::of(self.surface, self.seq)?,
            client_id: self.client_id,
            address: self.address,
            idempotency_key: self.idempotency_key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples::{House, accepted, moved, reading};

    #[tokio::test]
    async fn a_command_is_told_in_its_newest_state() {
        let mut house = House::new().await;
        let record = accepted(&mut house, "a", Some("key")).await;
        let published = moved(&mut house, record, CommandState::Published, None).await;
        let sent = moved(&mut house, published, CommandState::Unconfirmable, Some(Delivery::Sent)).await;

        assert_eq!((sent.id, sent.seq), (Seq(1), Seq(3)));
        assert_eq!(house.store.command(Seq(1)).await.unwrap(), Some(sent.clone()));
        assert_eq!(house.store.command_by_key("key").await.unwrap(), Some(sent));
        assert_eq!(house.store.command(Seq(2)).await.unwrap(), None);
        assert_eq!(house.store.command_by_key("other").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_key_leads_to_its_newest_command() {
        let mut house = House::new().await;
        let first = accepted(&mut house, "a", Some("key")).await;
        let second = accepted(&mut house, "a", Some("key")).await;
        moved(&mut house, first, CommandState::Expired, None).await;
        assert_eq!(house.store.command_by_key("key").await.unwrap(), Some(second));
    }

    #[tokio::test]
    async fn the_unfinished_are_those_without_an_end() {
        let mut house = House::new().await;
        let ended = accepted(&mut house, "a", None).await;
        let waiting = accepted(&mut house, "a", None).await;
        let published = accepted(&mut house, "b", None).await;
        let published = moved(&mut house, published, CommandState::Published, None).await;
        moved(&mut house, ended, CommandState::Expired, None).await;
        house.append(&mut [reading("a", 1.0)]).await;
        assert_eq!(house.store.unfinished_commands().await.unwrap(), [waiting, published]);
    }
}
