//! Object stores of a real deployment: a local directory, or a bucket behind the S3 protocol. Knows nothing of what is kept in them.

mod directory;
mod http;
mod s3;

use crate::env::{BoxFuture, Disk, ObjectError, Objects, StoreAt, StoreConfig, Stores};
use directory::Directory;
use s3::Bucket;
use std::sync::Arc;

/// Opens stores as they are configured.
pub(super) struct OsStores {
    pub(super) disk: Arc<dyn Disk>,
}

impl Stores for OsStores {
    fn open<'a>(&'a self, config: &'a StoreConfig) -> BoxFuture<'a, Result<Arc<dyn Objects>, ObjectError>> {
        let place = config.region.clone();
        Box::pin(async move {
            match &config.at {
                StoreAt::Directory(path) => {
                    Ok(Arc::new(Directory::new(place, path.clone(), self.disk.clone())) as Arc<dyn Objects>)
                }
                StoreAt::S3(config) => {
                    // Small files, once, before anything is served.
                    Ok(Arc::new(Bucket::new(place, config, &*self.disk)?) as Arc<dyn Objects>)
                }
            }
        })
    }
}
