//! The command log: what was asked of devices and services, and how far it came.

use std::collections::HashMap;

use async_graphql::InputObject;
use entity::{command_states as states, commands, sources, topics};
use sea_orm::{
    JoinType, Order,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};

use super::{
    Store,
    command_rows::CommandRow,
    paging::{cut, narrow_by, page},
    readings::{MAX_AT_ONCE, MAX_PAGE_BYTES, together, too_much},
    services::topics_where,
    words::{Word, class},
};
use crate::{
    error::Error,
    model::{Action, CommandRecord, CommandState, Page, Part, Seq, ServiceTopic, Surface, Target},
};

/// Which commands are meant: those that are all of what is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, InputObject)]
pub struct CommandFilter {
    /// The device that they are for.
    pub device: Option<String>,
    /// The firmware whose services they are for.
    pub firmware: Option<String>,
    /// The name of the service that they are for.
    pub service: Option<String>,
    /// What follows the service in the topic that they go to: empty, or beginning with a slash.
    pub suffix: Option<String>,
    /// What the device makes of them.
    pub action: Option<Action>,
    /// How far they have come.
    pub state: Option<CommandState>,
    /// Where they came in.
    pub surface: Option<Surface>,
}

impl CommandFilter {
    /// Whether a command, as this record tells it, is one of those.
    pub fn has(&self, record: &CommandRecord) -> bool {
        let is = |wanted: &Option<String>, one: Option<&str>| wanted.is_none() || wanted.as_deref() == one;
        let topic = record.target.service();
        is(&self.device, record.target.device())
            && is(&self.firmware, topic.map(ServiceTopic::firmware))
            && is(&self.service, topic.map(ServiceTopic::name))
            && is(&self.suffix, topic.map(ServiceTopic::suffix))
            && self.action.is_none_or(|action| record.target.action() == Some(action))
            && self.state.is_none_or(|state| state == record.state)
            && self.surface.is_none_or(|surface| surface == record.surface)
    }
}

impl Store {
    /// Commands in their newest states, newest first; on from a cursor, which is an id. The moments of a part are
    /// not looked at. A page ends early where payloads are large.
    pub async fn commands(&self, filter: &CommandFilter, part: Part) -> Result<Page<CommandRecord>, Error> {
        let (records, whole) = self.fitting(&listed(filter, &part), &mut { MAX_PAGE_BYTES }).await?;
        let make = if whole { page } else { cut };
        Ok(make(records, &part, |record| record.id))
    }

    /// The same part of the commands for each of some devices: a statement for each hundred. Devices without a
    /// command are absent. Refuses to read more than fits into an answer.
    pub async fn commands_of_each(
        &self,
        devices: &[&str],
        part: Part,
    ) -> Result<HashMap<String, Page<CommandRecord>>, Error> {
        let of = |device: &str| CommandFilter { device: Some(device.to_owned()), ..CommandFilter::default() };
        self.commands_for_each(devices, of, Target::device, part).await
    }

    /// The same for each of some services, each `{firmware}/{service}`.
    pub async fn commands_of_each_service(
        &self,
        services: &[&str],
        part: Part,
    ) -> Result<HashMap<String, Page<CommandRecord>>, Error> {
        let of = |service: &str| {
            let (firmware, name) = service.split_once('/').unwrap_or((service, ""));
            let (firmware, service) = (Some(firmware.to_owned()), Some(name.to_owned()));
            CommandFilter { firmware, service, ..CommandFilter::default() }
        };
        self.commands_for_each(services, of, |target| target.service().map(ServiceTopic::service), part).await
    }

    async fn commands_for_each(
        &self,
        names: &[&str],
        of: impl Fn(&str) -> CommandFilter,
        whose: impl Fn(&Target) -> Option<&str>,
        part: Part,
    ) -> Result<HashMap<String, Page<CommandRecord>>, Error> {
        let mut found = HashMap::<String, Vec<CommandRecord>>::new();
        let mut room = MAX_PAGE_BYTES;
        for names in names.chunks(MAX_AT_ONCE) {
            let query = together(names.iter().map(|name| listed(&of(name), &part)));
            let (records, whole) = self.fitting(&query, &mut room).await?;
            if !whole {
                return Err(too_much());
            }
            for record in records {
                if let Some(name) = whose(&record.target).map(str::to_owned) {
                    found.entry(name).or_default().push(record);
                }
            }
        }
        let pages = found.into_iter().map(|(name, records)| (name, page(records, &part, |record| record.id)));
        Ok(pages.collect())
    }

    /// A command in its newest state.
    pub async fn command(&self, id: Seq) -> Result<Option<CommandRecord>, Error> {
        let mut query = CommandRow::select();
        query.and_where(states::Column::Command.eq(id.0));
        self.newest_command(query).await
    }

    /// The newest command that was sent under an idempotency key, in its newest state. One that was denied was not sent.
    pub async fn command_by_key(&self, key: &str) -> Result<Option<CommandRecord>, Error> {
        let mut query = CommandRow::select();
        query
            .and_where(commands::Column::IdempotencyKey.eq(key))
            .and_where(commands::Column::State.ne(CommandState::Denied.number()));
        self.newest_command(query).await
    }

    /// Commands that have not come to an end, oldest first: after a start, those that the last run left.
    pub async fn unfinished_commands(&self) -> Result<Vec<CommandRecord>, Error> {
        self.command_records(&unfinished()).await
    }

    /// The states of commands that the journal tells from `first` to `last`, both inclusive, in order, as far as there
    /// is room for them. Tells whether these are all.
    pub(super) async fn commands_between(
        &self,
        first: Seq,
        last: Seq,
        room: &mut usize,
    ) -> Result<(Vec<CommandRecord>, bool), Error> {
        let mut query = CommandRow::select();
        query
            .and_where(states::Column::Seq.between(first.0, last.0))
            .order_by_expr(Expr::col(states::Column::Seq.as_column_ref()), Order::Asc);
        self.fitting(&query, room).await
    }

    async fn newest_command(&self, mut query: SelectStatement) -> Result<Option<CommandRecord>, Error> {
        query
            .order_by_expr(Expr::col(states::Column::Command.as_column_ref()), Order::Desc)
            .order_by_expr(Expr::col(states::Column::Seq.as_column_ref()), Order::Desc)
            .limit(1);
        Ok(self.command_records(&query).await?.pop())
    }

    /// The commands that a query finds, the first of them at least, and on for as long as there is room for their
    /// payloads, in bytes. Tells whether these are all.
    async fn fitting(
        &self,
        query: &SelectStatement,
        room: &mut usize,
    ) -> Result<(Vec<CommandRecord>, bool), Error> {
        let (rows, whole) = self.weighed(query, room, CommandRow::weight).await?;
        let records = rows.into_iter().map(CommandRow::record).collect::<Result<_, _>>()?;
        Ok((records, whole))
    }

    async fn command_records(&self, query: &SelectStatement) -> Result<Vec<CommandRecord>, Error> {
        self.rows::<CommandRow>(query).await?.into_iter().map(CommandRow::record).collect()
    }
}

/// Commands in their newest states.
fn newest() -> SelectStatement {
    let newest = Query::select()
        .expr(Expr::col(("newest", states::Column::Seq)).max())
        .from_as(states::Entity, "newest")
        .and_where(
            Expr::col(("newest", states::Column::Command))
                .eq(Expr::col(commands::Column::Id.as_column_ref())),
        )
        .take();
    let mut query = CommandRow::select();
    query.and_where(Expr::col(states::Column::Seq.as_column_ref()).eq(newest));
    query
}

/// Those of them that have not come to an end.
fn unfinished() -> SelectStatement {
    let unfinished = [CommandState::Accepted.number(), CommandState::Published.number()];
    let mut query = newest();
    query
        .and_where(commands::Column::State.is_in(unfinished))
        .order_by_expr(Expr::col(commands::Column::Id.as_column_ref()), Order::Asc);
    query
}

/// A part of the command log.
fn listed(filter: &CommandFilter, part: &Part) -> SelectStatement {
    let column = |column: commands::Column| Expr::col(column.as_column_ref());
    let mut query = newest();
    if let Some(device) = &filter.device {
        let source = Query::select()
            .column(sources::Column::Id)
            .from(sources::Entity)
            .and_where(sources::Column::Class.eq(class::DEVICE))
            .and_where(sources::Column::Name.eq(device))
            .take();
        query.and_where(column(commands::Column::Source).eq(source));
    }
    if filter.firmware.is_some() || filter.service.is_some() || filter.suffix.is_some() {
        query.and_where(column(commands::Column::Id).in_subquery(of_services(filter, part)));
    }
    restrict(&mut query, filter, part);
    query
}

/// The ids of commands for services that can stand in a part of the command log: of each topic the first, so that a long
/// log is never read as a whole.
fn of_services(filter: &CommandFilter, part: &Part) -> SelectStatement {
    let mut of_topic = Query::select()
        .column(commands::Column::Id.as_column_ref())
        .from(commands::Entity)
        .and_where(
            Expr::col(commands::Column::Source.as_column_ref())
                .eq(Expr::col(topics::Column::Source.as_column_ref())),
        )
        .take();
    restrict(&mut of_topic, filter, part);
    let [firmware, service, suffix] =
        [&filter.firmware, &filter.service, &filter.suffix].map(Option::as_deref);
    let mut query = topics_where(firmware, service, suffix);
    query
        .expr(Expr::col(("found", commands::Column::Id)))
        .join_as(
            JoinType::InnerJoin,
            commands::Entity,
            "found",
            Expr::col(("found", commands::Column::Id)).in_subquery(of_topic),
        )
        .take()
}

/// Narrows a query on commands to a part and to what a filter says of the commands themselves.
fn restrict(query: &mut SelectStatement, filter: &CommandFilter, part: &Part) {
    if let Some(action) = filter.action {
        query.and_where(commands::Column::Action.eq(action.number()));
    }
    if let Some(state) = filter.state {
        query.and_where(commands::Column::State.eq(state.number()));
    }
    if let Some(surface) = filter.surface {
        query.and_where(commands::Column::Surface.eq(surface.number()));
    }
    narrow_by(query, commands::Column::Id.as_column_ref(), part);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Cursor, Delivery},
        store::samples::{House, accepted, accepted_by_service, large_command, moved, reading},
    };

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
    async fn commands_are_listed_in_their_newest_states() {
        let mut house = House::new().await;
        let first = accepted(&mut house, "a", None).await;
        let second = accepted(&mut house, "b", None).await;
        let third = accepted(&mut house, "a", None).await;
        let first = moved(&mut house, first, CommandState::Published, Some(Delivery::Sent)).await;
        let first = moved(&mut house, first, CommandState::Unconfirmable, Some(Delivery::Sent)).await;
        let list = async |filter: CommandFilter, cursor, limit| {
            house.store.commands(&filter, Part::of(cursor, limit)).await.unwrap()
        };

        let all = list(CommandFilter::default(), None, 2).await;
        assert_eq!(all.items, [third.clone(), second.clone()]);
        let older = list(CommandFilter::default(), all.next, 2).await;
        assert_eq!((older.items, older.next), (vec![first.clone()], None));
        let newer = list(CommandFilter::default(), Some(Cursor::After(first.id)), 1).await;
        assert_eq!((newer.items, newer.next), (vec![second], Some(Cursor::After(Seq(2)))));

        let of_a = CommandFilter { device: Some("a".into()), ..CommandFilter::default() };
        assert_eq!(list(of_a.clone(), None, 9).await.items, [third, first.clone()]);
        let ended = CommandFilter { state: Some(CommandState::Unconfirmable), ..of_a.clone() };
        assert_eq!(list(ended, None, 9).await.items, [first]);
        let stopped = CommandFilter { action: Some(Action::Stop), ..of_a };
        assert_eq!(list(stopped, None, 9).await.items, []);
    }

    #[tokio::test]
    async fn a_page_of_large_commands_is_short_and_goes_on() {
        let mut house = House::new().await;
        for _ in 0..20 {
            house.append(&mut [large_command("rig/a/config")]).await;
        }
        let first = house.store.commands(&CommandFilter::default(), Part::of(None, 30)).await.unwrap();
        assert_eq!((first.items.len(), first.next), (17, Some(Cursor::Before(Seq(4)))));
        let rest = house.store.commands(&CommandFilter::default(), Part::of(first.next, 30)).await.unwrap();
        assert_eq!((rest.items.len(), rest.next), (3, None));
        let refused = house.store.commands_of_each_service(&["rig/a"], Part::of(None, 30)).await;
        assert!(matches!(refused, Err(Error::Invalid(why)) if why.contains("4 MiB")));
    }

    #[tokio::test]
    async fn commands_for_each_device_are_those_for_that_device() {
        let mut house = House::new().await;
        for device in ["a", "b", "a", "a"] {
            accepted(&mut house, device, None).await;
        }
        for part in [Part::of(None, 2), Part::of(Some(Cursor::After(Seq(1))), 9)] {
            let each = house.store.commands_of_each(&["a", "b", "nobody"], part).await.unwrap();
            assert_eq!(each.len(), 2);
            for device in ["a", "b"] {
                let filter = CommandFilter { device: Some(device.into()), ..CommandFilter::default() };
                assert_eq!(each[device], house.store.commands(&filter, part).await.unwrap());
            }
        }
    }

    #[tokio::test]
    async fn lists_of_commands_are_read_by_an_index() {
        let house = House::new().await;
        let by = |filter: CommandFilter| listed(&filter, &Part::of(None, 9));
        for query in [
            by(CommandFilter::default()),
            by(CommandFilter { device: Some("a".into()), ..CommandFilter::default() }),
            by(CommandFilter { state: Some(CommandState::Expired), ..CommandFilter::default() }),
            by(CommandFilter { surface: Some(Surface::Mqtt), ..CommandFilter::default() }),
            by(for_service("rig", "fan", "/config")),
            by(CommandFilter { suffix: Some("/config".into()), ..CommandFilter::default() }),
        ] {
            let plan = house.plan(&query).await;
            assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:?}");
        }
        let plan = house.plan(&by(for_service("rig", "fan", "/config"))).await;
        for wanted in ["sources_class_name", "topics_service_suffix", "commands_source_id"] {
            assert!(plan.iter().any(|step| step.contains(wanted)), "{plan:?}");
        }
    }

    fn for_service(firmware: &str, service: &str, suffix: &str) -> CommandFilter {
        let [firmware, service, suffix] =
            [firmware, service, suffix].map(|wanted| Some(wanted.to_owned()).filter(|wanted| wanted != "*"));
        CommandFilter { firmware, service, suffix, ..CommandFilter::default() }
    }

    #[tokio::test]
    async fn commands_for_services_are_listed_by_what_they_are_for() {
        let mut house = House::new().await;
        let device = accepted(&mut house, "rig", None).await;
        let mut all = vec![device];
        for topic in
            ["rig/fan", "rig/fan/config", "rig/pump/config", "rig2/fan/config", "ri/g/fan", "rig/fan/config"]
        {
            all.push(accepted_by_service(&mut house, topic).await);
        }
        all[3] = moved(&mut house, all[3].clone(), CommandState::Published, Some(Delivery::Sent)).await;
        assert_eq!(house.store.command(all[3].id).await.unwrap().as_ref(), Some(&all[3]));
        let filters = [
            (for_service("rig", "*", "*"), 4),
            (for_service("rig", "fan", "*"), 3),
            (for_service("rig", "fan", "/config"), 2),
            (for_service("rig", "fan", ""), 1),
            (for_service("*", "fan", "*"), 4),
            (for_service("*", "an", "*"), 0),
            (for_service("*", "*", "/config"), 4),
            (CommandFilter { state: Some(CommandState::Published), ..for_service("rig", "*", "*") }, 1),
            (CommandFilter { device: Some("rig".into()), ..for_service("rig", "*", "*") }, 0),
            (CommandFilter { action: Some(Action::Play), ..CommandFilter::default() }, 1),
            (CommandFilter { action: Some(Action::Play), ..for_service("rig", "*", "*") }, 0),
        ];
        for (filter, count) in filters {
            let wanted: Vec<_> = all.iter().rev().filter(|record| filter.has(record)).cloned().collect();
            assert_eq!(wanted.len(), count, "{filter:?}");
            let mut listed = Vec::new();
            let mut part = Part::of(None, 2);
            loop {
                let page = house.store.commands(&filter, part).await.unwrap();
                listed.extend(page.items);
                part.cursor = page.next;
                if part.cursor.is_none() {
                    break;
                }
            }
            assert_eq!(listed, wanted, "{filter:?}");
        }
    }

    #[tokio::test]
    async fn commands_for_each_service_are_those_for_that_service() {
        let mut house = House::new().await;
        accepted(&mut house, "rig", None).await;
        for topic in ["rig/fan/config", "rig/pump", "rig/fan", "lab/fan/config", "rig/fan/config"] {
            accepted_by_service(&mut house, topic).await;
        }
        for part in [Part::of(None, 2), Part::of(Some(Cursor::After(Seq(1))), 9)] {
            let asked = ["rig/fan", "rig/pump", "lab/pump"];
            let each = house.store.commands_of_each_service(&asked, part).await.unwrap();
            assert_eq!(each.len(), 2);
            for (service, name) in [("rig/fan", "fan"), ("rig/pump", "pump")] {
                let filter = for_service("rig", name, "*");
                assert_eq!(each[service], house.store.commands(&filter, part).await.unwrap());
            }
        }
    }

    #[tokio::test]
    async fn the_unfinished_are_found_by_an_index() {
        let house = House::new().await;
        let plan = house.plan(&unfinished()).await;
        assert!(plan.iter().any(|step| step.contains("commands_state_id")), "{plan:?}");
        assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{plan:?}");
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
