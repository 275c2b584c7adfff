//! What the server makes for itself: the first namespaces, and the Service by which pods reach it.

use super::late::{self, Unsaved};
use crate::server::Inner;
use crate::special::allocate::objects;
use crate::{encode, registry};
use ironclad_api::ApiError;
use ironclad_json::{Value, json};
use ironclad_store::{Change, Expect, Op};
use std::net::Ipv4Addr;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

impl Inner {
    /// Stores an object under its kind's key if there is none. A store that takes no writes gets it when it takes some
    /// again: what others wrote can be read until then.
    pub(crate) async fn ensure(&self, group: &str, plural: &str, object: Value) -> Result<(), ApiError> {
        match self.try_ensure(group, plural, &object).await {
            Err(Unsaved::Later(error)) => {
                tracing::warn!(plural, name = ironclad_api::object::name(&object), %error, "the store takes no writes");
                self.late.put(group, plural, object);
                Ok(())
            }
            Err(Unsaved::Never(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// [`Self::ensure`], once.
    pub(super) async fn try_ensure(&self, group: &str, plural: &str, object: &Value) -> Result<(), Unsaved> {
        let kind = self.kind_of(group, plural).ok_or_else(|| ApiError::internal(format!("no kind {plural}")))?;
        let namespace = ironclad_api::object::namespace(object);
        let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let key = format!("{}{place}{}", kind.prefix, ironclad_api::object::name(object));
        let mut object = object.clone();
        let meta = ironclad_api::object::metadata_mut(&mut object);
        meta.insert("uid", uuid::Uuid::new_v4().to_string().into());
        meta.insert("creationTimestamp", ironclad_api::time::now().into());
        if kind.generation {
            meta.insert("generation", json!(1));
        }
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        kind.strategy.default(&mut object);
        if matches!(plural, "namespaces" | "apiservices") {
            kind.strategy.prepare_create(&mut object);
        }
        registry::own(&self.catalog.now(), &kind, &mut object);
        let change = Change::Put { value: encode::template(&object), ttl: None };
        match self.registry.store.commit(vec![Op { key: key.as_str().into(), expect: Expect::Absent, change }]).await {
            Ok(_) => Ok(()),
            Err(ironclad_store::Error::Conflict { .. }) => self.reconcile(group, &key, &object).await,
            // An object that is there already is refused as well where nothing is written.
            Err(error) if late::refuses(&error) => match self.registry.entry(&key).await? {
                Some(_) => self.reconcile(group, &key, &object).await,
                None => Err(Unsaved::Later(error)),
            },
            Err(error) => Err(Unsaved::Never(registry::store_error(&error))),
        }
    }

    /// Gives a part of the bootstrap policy that is there already what it lacks.
    async fn reconcile(&self, group: &str, key: &str, wanted: &Value) -> Result<(), Unsaved> {
        if group != "rbac.authorization.k8s.io" {
            return Ok(());
        }
        let Some(entry) = self.registry.entry(key).await? else { return Ok(()) };
        let stored = encode::decode(entry.value.bytes());
        let Some(whole) = ironclad_auth::bootstrap::reconciled(&stored, wanted) else { return Ok(()) };
        let change = Change::Put { value: encode::template(&whole), ttl: None };
        let op = Op { key: key.into(), expect: Expect::Modified(entry.modified), change };
        self.registry.store.commit(vec![op]).await.map(drop).map_err(|e| match late::refuses(&e) {
            true => Unsaved::Later(e),
            false => Unsaved::Never(registry::store_error(&e)),
        })
    }

    pub(crate) async fn bootstrap(&self, advertise: Ipv4Addr, port: u16, service_ip: Ipv4Addr) -> Result<(), ApiError> {
        for name in NAMESPACES {
            self.ensure("", "namespaces", json!({"metadata": {"name": name}})).await?;
        }
        let labels = json!({"component": "apiserver", "provider": "kubernetes"});
        let ip = service_ip.to_string();
        let service = json!({
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
            "spec": {
                "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}], "sessionAffinity": "None",
            },
            "status": {"loadBalancer": {}},
        });
        self.ensure("", "services", service).await?;
        match self.publish_address(advertise, port).await {
            // It is published again and again where there are several servers.
            Err(error) if self.registry.store.is_shared() => {
                tracing::warn!(%error, "this server's address is not published yet");
                Ok(())
            }
            other => other,
        }
    }

    /// The range of addresses of Services, and an object for each address that a Service has.
    pub(crate) async fn bootstrap_addresses(
        &self,
        cidr: ipnet::Ipv4Net,
        services: &[impl std::ops::Deref<Target = Value>],
    ) -> Result<(), ApiError> {
        self.ensure("networking.k8s.io", "servicecidrs", objects::first_range(cidr)).await?;
        let first = Ipv4Addr::from(u32::from(cidr.network()) + 1);
        let own = json!({"metadata": {"namespace": "default", "name": "kubernetes"}});
        self.ensure("networking.k8s.io", "ipaddresses", objects::ip_address(first, &own)).await?;
        for service in services {
            if let Ok(ip) = ironclad_api::object::text(service, &["spec", "clusterIP"]).parse::<Ipv4Addr>() {
                self.ensure("networking.k8s.io", "ipaddresses", objects::ip_address(ip, service)).await?;
            }
        }
        Ok(())
    }
}
