//! Pictures of cameras, as they are complete.

use futures_util::{Stream, StreamExt};

use super::problem::Problem;
use crate::{
    address,
    app::App,
    frames::{self, Frame},
    model::Seq,
};

/// The frames of a camera as they are closed.
pub async fn of(
    app: &App,
    firmware: &str,
    service: &str,
    after: Option<Seq>,
) -> Result<impl Stream<Item = Result<Frame, Problem>> + Send + use<>, Problem> {
    let service = address::service(firmware, service, &app.config.pair)?;
    let closed = frames::closed(&app.hub, &app.store, &app.registry, service, after).await?;
    Ok(closed.map(|frame| frame.map_err(Problem::from)))
}
