//! All devices at one place of the journal.

use std::collections::BTreeMap;

use entity::{journal, sources};
use sea_orm::{
    entity::prelude::*,
    sea_query::{Expr, ExprTrait},
};

use super::{
    Store,
    events::{Entry, last},
    words::{class, kind},
};
use crate::{
    error::Error,
    model::{CommandRecord, PresenceChange, Reading, Seq},
};

/// The last that the journal says of a device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceFacts {
    pub name: String,
    pub reading: Option<Reading>,
    pub presence: Option<PresenceChange>,
    /// The newest command that was published, as it was then.
    pub command: Option<CommandRecord>,
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
        for record in self.last_published_as_of(seq).await? {
            if let Some(name) = record.target.device().map(str::to_owned) {
                facts_of(&mut devices, name).command = Some(record);
            }
        }
        Ok(devices.into_values().collect())
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

fn facts_of(devices: &mut BTreeMap<String, DeviceFacts>, name: String) -> &mut DeviceFacts {
    devices
        .entry(name)
        .or_insert_with_key(|name| DeviceFacts { name: name.clone(), ..DeviceFacts::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{CommandState, Event},
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
        assert_eq!(b.command, None, "it has not gone out");

        let now = house.journal.head();
        let [a, b] = &house.store.devices_as_of(now).await.unwrap()[..] else { panic!("two devices") };
        assert_eq!(a.reading.clone().map(Event::Reading), second[1].event);
        assert_eq!((&a.presence, &a.command), (&None, &None));
        assert_eq!(b.reading.clone().map(Event::Reading), second[0].event);
        assert_eq!(b.command, Some(published));
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
