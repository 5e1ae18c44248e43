//! What can be asked.

use async_graphql::{Context, Object};

use super::{
    app,
    device::DeviceNode,
    limits::{DEVICES, count_page},
    problem::Problem,
};

pub struct Query;

/// What can be asked.
#[Object]
impl Query {
    /// Every device that ever spoke, and the pair; by name.
    #[graphql(complexity = "DEVICES * child_complexity")]
    async fn devices(&self, context: &Context<'_>) -> Result<Vec<DeviceNode>, Problem> {
        count_page(context)?;
        Ok(app(context).devices.list().into_iter().map(DeviceNode).collect())
    }

    /// One device. Null when it never spoke.
    async fn device(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its name, as in its topics.")] name: String,
    ) -> Option<DeviceNode> {
        app(context).devices.get(&name).ok().map(DeviceNode)
    }
}
