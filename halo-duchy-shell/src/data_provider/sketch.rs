//! From impressions to an encrypted sketch.

use halo_protocols::data_provider::{SketchParameters, plain_sketch, reach_only_sketch};
use halo_protocols::kernel::{self, KernelContext};
use halo_protocols::proto::any_sketch::crypto::EncryptSketchRequest;
use halo_protocols::proto::any_sketch::crypto::encrypt_sketch_request::DestroyedRegisterStrategy;

use super::consent_check::{Metric, SketchOrder};
use super::upload::Upload;
use super::{DataProvider, DataProviderError};
use crate::platform;

impl DataProvider {
    /// Sketches the impressions of the people sampled. The same requisition gives the same bytes again, so that a
    /// repeated upload shows nothing more.
    pub(super) async fn encrypted_sketch(
        &self,
        requisition: &str,
        order: &SketchOrder,
    ) -> Result<Upload, DataProviderError> {
        let sampled = self.impressions.iter().filter(|(vid, _)| order.sampled.contains(**vid));
        let parameters = SketchParameters { salt: self.sketch_salt, ..order.sketch };
        let (sketch, maximum_value) = match order.metric {
            Metric::ReachOnly => (reach_only_sketch(&parameters, sampled.map(|(vid, _)| *vid)), 0),
            Metric::Frequency { maximum } => {
                (plain_sketch(&parameters, sampled.map(|(vid, count)| (*vid, *count))), maximum)
            }
        };
        let registers = sketch.registers.len();
        let request = EncryptSketchRequest {
            sketch: Some(sketch),
            el_gamal_keys: Some(order.key.clone()),
            curve_id: order.curve_id,
            maximum_value,
            destroyed_register_strategy: DestroyedRegisterStrategy::FlaggedKey.into(),
            // As upstream's data providers: the duchies add the noise that hides the number of registers.
            noise_parameter: None,
        };
        let context = KernelContext::new(self.executor.clone(), self.seed.derive(requisition.as_bytes()));
        let encrypted = platform::blocking(move || kernel::compute(&request, &context));
        let encrypted = encrypted.await.map_err(|_| DataProviderError::Interrupted)?;
        let encrypted = encrypted.map_err(DataProviderError::Sketch)?;
        Ok(Upload {
            to: self.fulfillment.clone(),
            protocol: None,
            registers,
            body: encrypted.encrypted_sketch,
        })
    }
}
