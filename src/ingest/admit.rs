//! How many devices and services there may be: a client that invents names must not fill the memory.

use super::{
    Ingest,
    interpret::{self, Interpreted, Meaning},
};
use crate::{
    broker::Inbound,
    json::Flaw,
    model::{Rejection, RejectionReason, ServiceTopic, Target},
};

/// Devices that are known at most.
const MAX_DEVICES: usize = 10_000;

impl Ingest {
    /// Refuses a device or a service that would be one too many.
    pub(super) fn admit(
        &mut self,
        interpreted: Interpreted,
        inbound: &Inbound,
    ) -> Result<Interpreted, Box<Rejection>> {
        let (device, speaks) = match &interpreted.meaning {
            Meaning::Reading(reading) => (&reading.device, true),
            Meaning::Online { device } | Meaning::Offline { device } => (device, true),
            Meaning::Command { record, .. } => match &record.target {
                Target::Device { device, .. } => (device, false),
                Target::Service(topic) if self.book.admits_service(topic.service()) => {
                    return Ok(interpreted);
                }
                Target::Service(topic) => return Err(too_many(topic, inbound)),
            },
            Meaning::ServiceReading { reading, .. } if self.book.admits(&reading.topic) => {
                return Ok(interpreted);
            }
            Meaning::ServiceReading { reading, .. } => return Err(too_many(&reading.topic, inbound)),
            Meaning::Nothing => return Ok(interpreted),
        };
        if self.watch.status(device).is_some() || self.pair.contains(device) {
            return Ok(interpreted);
        }
        // Who is only spoken to is no device, but the journal has to name it.
        let known = self.watch.len() + self.silent.len();
        if known < MAX_DEVICES || (!speaks && self.silent.contains(device)) {
            if !speaks {
                self.silent.insert(device.clone());
            }
            return Ok(interpreted);
        }
        let detail = format!("there are {MAX_DEVICES} devices already, and {device} is none of them");
        Err(interpret::reject(inbound, denied(detail)))
    }
}

fn too_many(topic: &ServiceTopic, inbound: &Inbound) -> Box<Rejection> {
    let detail =
        format!("there are as many services and topics as are kept in mind, and {topic} is none of them");
    interpret::reject(inbound, denied(detail))
}

fn denied(detail: String) -> Flaw {
    Flaw { reason: RejectionReason::Denied, pointer: String::new(), detail }
}
