//! Clients of the broker.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    answers::{WhenListing, WhenSeen},
    etag::Tagged,
    examples,
    paging::{Limit, Nothing},
    problem::{Problem, Query},
};
use crate::{
    app::App,
    model::{ClientSession, Cursor, Page, Part, RefusedClient},
};

type ClientSessionPage = Page<ClientSession>;
type RefusedClientPage = Page<RefusedClient>;

/// A part of the clients.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Clients {
    /// A session: those that connected after it, oldest first. Or the `next` of a page: what follows on it.
    /// Without it a page begins with the newest.
    #[param(value_type = String, required = false, example = "17")]
    after: Option<Cursor>,
    /// How many items at most.
    #[serde(default)]
    #[param(value_type = u32, required = false, default = 100, minimum = 1, maximum = 1000, example = 100)]
    limit: Limit,
}

/// Who is connected to the broker.
///
/// The newest connection first, or with `after` the oldest first. It is the present: whoever leaves is on no
/// page any more.
#[utoipa::path(get, path = "/api/v1/clients", tag = "clients", operation_id = "list_clients", params(Clients),
    responses(
        (status = 200, description = "A page of clients", body = ClientSessionPage, example = json!(examples::clients())),
        WhenSeen, WhenListing))]
pub async fn list(
    State(app): State<App>,
    Query(asked): Query<Clients>,
) -> Result<Tagged<ClientSessionPage>, Problem> {
    Ok(Tagged(app.broker.clients(Part::of(asked.after, asked.limit.0))))
}

/// Who is kept out for a while.
///
/// All clients that broke off so often that they are refused until a moment, the latest first; see `--max-flaps`.
#[utoipa::path(get, path = "/api/v1/clients/refused", tag = "clients", operation_id = "list_refused_clients",
    responses(
        (status = 200, description = "All of them", body = RefusedClientPage, example = json!(examples::refused_clients())),
        WhenSeen, WhenListing))]
pub async fn refused(
    State(app): State<App>,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Tagged<RefusedClientPage>, Problem> {
    Ok(Tagged(Page { items: app.broker.refused_clients(), next: None }))
}
