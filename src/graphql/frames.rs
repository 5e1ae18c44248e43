//! Pictures of cameras, as they are complete.

use futures_util::{Stream, StreamExt};

use super::problem::Problem;
use crate::{
    app::App,
    error::Error,
    frames::{self, Frame},
    model::{Seq, ServiceName},
};

/// The frames of a camera as they are closed.
pub async fn of(
    app: &App,
    firmware: &str,
    service: &str,
    after: Option<Seq>,
) -> Result<impl Stream<Item = Result<Frame, Problem>> + Send + use<>, Problem> {
    let no_service = |_| Error::Invalid(format!("\"{firmware}/{service}\" can be the name of no service"));
    let service = ServiceName::new(firmware, service).map_err(no_service)?;
    let closed = frames::closed(&app.hub, &app.store, &app.registry, service, after).await?;
    Ok(closed.map(|frame| frame.map_err(Problem::from)))
}
