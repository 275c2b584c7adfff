use super::*;
use crate::world::Nowhere;
use async_trait::async_trait;
use ironclad_api::error::Result as ApiResult;
use ironclad_api::source::Changes;
use ironclad_api::{GroupResource, UserInfo};
use ironclad_auth::{Attributes, Decision, Rules};

struct Nothing;

impl Source for Nothing {
    fn get(&self, _: &GroupResource, _: &str, _: &str) -> Option<Arc<Value>> {
        None
    }

    fn list(&self, _: &GroupResource, _: &str) -> Vec<Arc<Value>> {
        Vec::new()
    }

    fn subscribe(&self, _: &GroupResource) -> Changes {
        Box::pin(futures::stream::empty())
    }
}

#[async_trait]
impl Authorizer for Nothing {
    async fn authorize(&self, _: &Attributes) -> Decision {
        Decision::Allow(String::new())
    }

    async fn rules(&self, _: &UserInfo, _: &str) -> Rules {
        Rules::default()
    }
}

#[async_trait]
impl quota::Ledger for Nothing {
    async fn find(&self, _: &GroupResource, _: &str, _: &str) -> ApiResult<Option<Value>> {
        Ok(None)
    }

    async fn provide(&self, _: &str) -> ApiResult<()> {
        Ok(())
    }

    async fn read(&self, _: &str, _: &str) -> ApiResult<Option<Value>> {
        Ok(None)
    }

    async fn write(&self, _: &Value) -> ApiResult<bool> {
        Ok(true)
    }
}

fn made(enable: &[&str], disable: &[&str], config: &str) -> Result<Vec<&'static str>, String> {
    let nothing = Arc::new(Nothing);
    let parts =
        Parts { source: nothing.clone(), authorizer: nothing.clone(), world: Arc::new(Nowhere), ledger: nothing };
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = dir.path().join("admission.yaml");
    std::fs::write(&path, config).map_err(|e| e.to_string())?;
    let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect();
    let configuration = (!config.is_empty()).then_some(path);
    let choice = Choice { enable: texts(enable), disable: texts(disable), configuration, ..Choice::default() };
    chain(&parts, &choice).map(|chain| chain.plugins.iter().map(|p| p.name()).collect())
}

const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n";

#[tokio::test]
async fn every_plugin_of_stock_is_known_and_those_of_stock_are_on() {
    let on = made(&[], &[], "").unwrap();
    for name in ["NamespaceLifecycle", "PodResizeValidator", "MutatingAdmissionPolicy", "ResourceQuota"] {
        assert!(on.contains(&name), "{name}");
    }
    for name in ["AlwaysDeny", "AlwaysPullImages", "DenyServiceExternalIPs", "PodNodeSelector"] {
        assert!(!on.contains(&name), "{name}");
    }
    let off: Vec<&str> = PLUGINS.iter().map(|(name, ..)| *name).filter(|n| !n.is_empty()).collect();
    assert_eq!(off.len(), 41);
    // What nobody can turn off stays.
    assert_eq!(made(&[], &off, "").unwrap().len(), 5);
    let more = made(&["AlwaysPullImages", "AlwaysDeny"], &["ServiceAccount"], "").unwrap();
    assert_eq!((more.contains(&"ServiceAccount"), more.last()), (false, Some(&"AlwaysDeny")));
}

#[tokio::test]
async fn names_and_configurations_that_make_no_sense_are_refused_in_the_stock_wording() {
    let limit = format!(
        "{HEAD}- name: EventRateLimit\n  configuration: {{apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, limits: [{{type: Server, qps: 0, burst: 1}}]}}\n"
    );
    let webhook = format!(
        "{HEAD}- name: MutatingAdmissionWebhook\n  configuration: {{apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: x}}\n"
    );
    let table: [(&[&str], &[&str], &str, &str); 7] = [
        (&["Nope"], &[], "", "enable-admission-plugins plugin \"Nope\" is unknown"),
        (&[], &["Nope"], "", "disable-admission-plugins plugin \"Nope\" is unknown"),
        (
            &["Priority"],
            &["Priority"],
            "",
            "[Priority] in enable-admission-plugins and disable-admission-plugins overlapped",
        ),
        (
            &["ImagePolicyWebhook"],
            &[],
            "",
            "couldn't init admission plugin \"ImagePolicyWebhook\": no config specified",
        ),
        (
            &["EventRateLimit"],
            &[],
            &limit,
            "couldn't init admission plugin \"EventRateLimit\": limits[0].qps: Invalid value: 0: must be positive",
        ),
        (
            &[],
            &[],
            &webhook,
            "couldn't init admission plugin \"MutatingAdmissionWebhook\": kubeConfigFile: Invalid value: \"x\": must be an absolute file path",
        ),
        (
            &[],
            &[],
            "kind: Pod\napiVersion: v1\n",
            "failed to read plugin config: no kind \"Pod\" is registered for version \"v1\"",
        ),
    ];
    for (enable, disable, config, want) in table {
        assert_eq!(made(enable, disable, config).unwrap_err(), want);
    }
    // What is wrong with a plugin that is off is nobody's business.
    assert!(made(&[], &[], &limit).is_ok());
}
