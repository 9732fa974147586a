//! The manifests of `deploy`, as the API server sees them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::manifests::{TARGETS, manifests, name};
use crate::office::{from, until};

/// Every object would be created as it is, without a field that the API server does not know. Nothing is created.
pub async fn the_manifests_are_valid(cluster: &Cluster) {
    let client = cluster.namespace().await;
    define_service_monitors(&client).await;
    for target in TARGETS {
        for object in manifests(target) {
            let refused = create(&client, &object).await.err();
            assert!(refused.is_none(), "{target}: {}: {}", name(&object), refused.expect("refused"));
        }
    }
    // The API server does look.
    let mut wrong = manifests("gke").into_iter().find(|object| object["kind"] == "Deployment").expect("one");
    wrong["spec"]["template"]["spec"]["containers"][0]["argz"] = json!(["herald"]);
    let refused = create(&client, &wrong).await.expect_err("an unknown field");
    assert!(refused.to_string().contains("argz"), "{refused}");
    let mut monitor =
        manifests("gke").into_iter().find(|object| object["kind"] == "ServiceMonitor").expect("one");
    monitor["spec"]["endpoint"] = json!([]);
    let refused = create(&client, &monitor).await.expect_err("an unknown field");
    assert!(refused.to_string().contains("endpoint"), "{refused}");
}

/// Asks what would come of it, strictly.
async fn create(client: &Client, object: &Value) -> Result<Value, kube::Error> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let (group, version) = match text(&object["apiVersion"]).split_once('/') {
        Some((group, version)) => (group.to_owned(), version.to_owned()),
        None => (String::new(), text(&object["apiVersion"])),
    };
    let resource = ApiResource::from_gvk(&GroupVersionKind { group, version, kind: text(&object["kind"]) });
    let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
    let body = serde_json::to_vec(object).expect("JSON");
    let url = format!("{}?dryRun=All&fieldValidation=Strict", api.resource_url());
    let request =
        tonic::codegen::http::Request::post(url).header("Content-Type", "application/json").body(body);
    client.request(request.expect("a request")).await
}

/// The custom resource of Prometheus' operator, as far as we use it.
async fn define_service_monitors(client: &Client) {
    let strings = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let endpoint = json!({ "type": "object", "properties": {
        "port": { "type": "string" }, "interval": { "type": "string" }, "honorLabels": { "type": "boolean" },
    } });
    let spec = json!({ "type": "object", "required": ["selector", "endpoints"], "properties": {
        "selector": { "type": "object", "properties": { "matchLabels": strings } },
        "endpoints": { "type": "array", "items": endpoint },
    } });
    let definition: CustomResourceDefinition = from(json!({
        "metadata": { "name": "servicemonitors.monitoring.coreos.com" },
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": { "kind": "ServiceMonitor", "plural": "servicemonitors", "singular": "servicemonitor" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": spec } } },
            }],
        },
    }));
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &definition).await.expect("a definition");
    until("the definition is in force", async || {
        let found =
            definitions.get_status("servicemonitors.monitoring.coreos.com").await.expect("the definition");
        let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
    })
    .await;
}
