//! All devices at one place of the journal.

use std::collections::{BTreeMap, HashMap};

use entity::{command_states as states, commands, journal, overrides, sources};
use sea_orm::{
    FromQueryResult, JoinType, Order,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait, Query, SelectStatement, UnionType},
};

use super::{
    Store,
    command_rows::CommandRow,
    events::{Entry, last},
    words::{Word, class, kind},
};
use crate::{
    error::Error,
    model::{Action, CommandState, PresenceChange, Reading, Seq},
};

/// The last that the journal says of a device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceFacts {
    pub name: String,
    pub reading: Option<Reading>,
    pub presence: Option<PresenceChange>,
    /// What went out to it last.
    pub told: Option<WentOut>,
}

/// What a device was told, and where in the journal that went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WentOut {
    pub seq: Seq,
    pub action: Action,
}

#[derive(FromQueryResult)]
struct WentOutRow {
    device: String,
    seq: i64,
    action: i16,
}

impl Store {
    /// Every device that the journal has spoken of up to `seq`, inclusive, and as it was then; by name.
    /// Three statements, however many devices.
    pub async fn devices_as_of(&self, seq: Seq) -> Result<Vec<DeviceFacts>, Error> {
        let mut devices = BTreeMap::<String, DeviceFacts>::new();
        for entry in self.last_entries_as_of(kind::READING, seq).await? {
            let reading = entry.reading()?;
            let name = reading.device.clone();
            facts_of(&mut devices, name).reading = Some(reading);
        }
        for entry in self.last_entries_as_of(kind::PRESENCE, seq).await? {
            let change = entry.presence()?;
            let name = change.device.clone();
            facts_of(&mut devices, name).presence = Some(change);
        }
        for (name, told) in self.went_out_last(seq).await? {
            facts_of(&mut devices, name).told = Some(told);
        }
        Ok(devices.into_values().collect())
    }

    /// What went out last to each device up to `seq`, inclusive, by device: of what was removed from the log, the last
    /// is known.
    pub(super) async fn went_out_last(&self, seq: Seq) -> Result<HashMap<String, WentOut>, Error> {
        let mut found = HashMap::<String, WentOut>::new();
        for row in self.rows::<WentOutRow>(&went_out_last(seq)).await? {
            let told = WentOut { seq: Seq(row.seq), action: Action::of(row.action, row.seq)? };
            let last = found.entry(row.device).or_insert(told);
            *last = if told.seq > last.seq { told } else { *last };
        }
        Ok(found)
    }

    /// The last entry of one kind about each device. One look into the index for each device, whatever the
    /// length of the journal.
    async fn last_entries_as_of(&self, kind: i16, seq: Seq) -> Result<Vec<Entry>, Error> {
        let mut query = Entry::select();
        query.and_where(sources::Column::Class.eq(class::DEVICE)).and_where(
            Expr::col(journal::Column::Seq.as_column_ref()).eq(last(
                kind,
                sources::Column::Id.as_column_ref(),
                seq,
            )),
        );
        self.rows(&query).await
    }
}

/// What went out last to each device, in the log and of what was removed from it: in one statement, so that nothing is
/// removed between the two.
fn went_out_last(seq: Seq) -> SelectStatement {
    let state = |column| Expr::col(("state", column));
    let device = || Expr::col(sources::Column::Name.as_column_ref());
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
            Expr::col(("other", commands::Column::Source)).eq(Expr::col(sources::Column::Id.as_column_ref())),
        )
        .and_where(Expr::col(("other", commands::Column::Id)).lte(seq.0))
        .and_where(state(states::Column::Seq).lte(seq.0))
        .and_where(published.or(told))
        .order_by_expr(Expr::col(("other", commands::Column::Id)), Order::Desc)
        .limit(1)
        .take();
    let removed = Query::select()
        .expr_as(device(), "device")
        .column(overrides::Column::Seq.as_column_ref())
        .column(overrides::Column::Action.as_column_ref())
        .from(overrides::Entity)
        .inner_join(
            sources::Entity,
            Expr::col(sources::Column::Id.as_column_ref())
                .eq(Expr::col(overrides::Column::Source.as_column_ref())),
        )
        .and_where(overrides::Column::Seq.lte(seq.0))
        .take();
    let mut query = CommandRow::select();
    query
        .clear_selects()
        .expr_as(device(), "device")
        .column(states::Column::Seq.as_column_ref())
        .column(commands::Column::Action.as_column_ref())
        .and_where(sources::Column::Class.eq(class::DEVICE))
        .and_where(Expr::col(states::Column::Seq.as_column_ref()).eq(last))
        .union(UnionType::All, removed)
        .take()
}

fn facts_of(devices: &mut BTreeMap<String, DeviceFacts>, name: String) -> &mut DeviceFacts {
    devices
        .entry(name)
        .or_insert_with_key(|name| DeviceFacts { name: name.clone(), ..DeviceFacts::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Event,
        store::samples::{
            House, accepted, moved, presence, reading, service, service_command, service_reading,
        },
    };

    #[tokio::test]
    async fn devices_are_told_as_they_were() {
        let mut house = House::new().await;
        let mut first = [presence("b"), reading("b", 20.0)];
        house.append(&mut first).await;
        let record = accepted(&mut house, "b", None).await;
        let then = house.journal.head();
        let published = moved(&mut house, record, CommandState::Published, None).await;
        moved(&mut house, published.clone(), CommandState::Unconfirmable, None).await;
        let never = accepted(&mut house, "b", None).await;
        moved(&mut house, never, CommandState::Expired, None).await;
        let mut second = [reading("b", 21.0), reading("a", 22.0)];
        house.append(&mut second).await;

        let [b] = &house.store.devices_as_of(then).await.unwrap()[..] else { panic!("a had not spoken") };
        assert_eq!(b.name, "b");
        assert_eq!(b.presence.clone().map(Event::Presence), first[0].event);
        assert_eq!(b.reading.clone().map(Event::Reading), first[1].event);
        assert_eq!(b.told, None, "it has not gone out");

        let now = house.journal.head();
        let [a, b] = &house.store.devices_as_of(now).await.unwrap()[..] else { panic!("two devices") };
        assert_eq!(a.reading.clone().map(Event::Reading), second[1].event);
        assert_eq!((&a.presence, a.told), (&None, None));
        assert_eq!(b.reading.clone().map(Event::Reading), second[0].event);
        assert_eq!(b.told, Some(WentOut { seq: published.seq, action: Action::Play }));
        assert_eq!(house.store.devices_as_of(Seq::ZERO).await.unwrap(), []);
    }

    #[tokio::test]
    async fn services_are_no_devices() {
        let mut house = House::new().await;
        let mut record = service_command("rig/a/1");
        if let Some(Event::Command(record)) = &mut record.event {
            record.state = CommandState::Unconfirmable;
        }
        house.append(&mut [service_reading("rig/a", b"1"), service("rig/a"), record]).await;
        assert_eq!(house.store.devices_as_of(Seq(3)).await.unwrap(), []);
    }
}
