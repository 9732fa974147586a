use halo_protocols::hmss;
use halo_protocols::role::Role;

use super::textproto::MAXIMUM_DEPTH;
use super::*;

const DUCHIES: &str = r#"
# As upstream writes it.
duchies {
  duchy_id: "aggregator"
  computation_control_service_cert_host: "localhost"
  root_certificate_skid: "\001\002"
}
duchies { duchy_id: "worker1" root_certificate_skid: "\003" }
duchies { duchy_id: "worker2" root_certificate_skid: "\004" }
"#;

fn directory() -> DuchyDirectory {
    DuchyDirectory::parse(DUCHIES).expect("well formed")
}

#[test]
fn duchies_are_read_with_their_roots() {
    let directory = directory();
    assert_eq!(directory.iter().map(|(id, _)| id).collect::<Vec<_>>(), ["aggregator", "worker1", "worker2"]);
    assert_eq!(
        directory.get("aggregator"),
        Some(&DuchyEntry { cert_host: "localhost".into(), root_skids: vec![vec![1, 2]] })
    );
    assert_eq!(directory.get("worker3"), None);
    let principals = load_principals(&directory, None).expect("distinct");
    assert_eq!(principals.get(&[3]), Some(&Caller::Duchy("worker1".into())));
}

#[test]
fn a_duchy_may_have_two_roots() {
    let text = r#"duchies { duchy_id: "a" root_certificate_skid: "1" } duchies { duchy_id: "a" root_certificate_skid: "2" }"#;
    let directory = DuchyDirectory::parse(text).expect("well formed");
    assert_eq!(directory.get("a").expect("listed").root_skids, [b"1", b"2"]);
    let principals = load_principals(&directory, None).expect("distinct");
    for root in [b"1", b"2"] {
        assert_eq!(principals.get(root), Some(&Caller::Duchy("a".into())));
    }
}

#[test]
fn ambiguous_or_malformed_duchies_are_refused() {
    let refused = |text: &str| DuchyDirectory::parse(text).expect_err(text);
    let first = r#"duchies { duchy_id: "a" root_certificate_skid: "1" } duchies { duchy_id: "a" root_certificate_skid:"#;
    for twice in [r#" "1" }"#, r#" "2" computation_control_service_cert_host: "b" }"#] {
        let refused = refused(&format!("{first}{twice}"));
        assert!(matches!(refused, ConfigError::DuplicateDuchy(id) if id == "a"), "{twice}");
    }
    let one_root = r#"duchies { duchy_id: "a" root_certificate_skid: "1" } duchies { duchy_id: "b" root_certificate_skid: "1" }"#;
    assert!(matches!(
        refused(one_root),
        ConfigError::Principals(PrincipalsError::DuplicateAuthority { authority, .. }) if authority == "31"
    ));
    assert!(matches!(refused(r#"duchies { duchy_id: "a" }"#), ConfigError::MissingRoot(id) if id == "a"));
    for id in ["", "a/b", "..", "a b", "é"] {
        let text = format!(r#"duchies {{ duchy_id: "{id}" root_certificate_skid: "1" }}"#);
        assert!(matches!(refused(&text), ConfigError::MalformedName(name) if name == id));
    }
    for text in ["duchies {", "duchy { }", "duchies { duchy_id: 3 }", "\0"] {
        assert!(matches!(refused(text), ConfigError::Textproto(TextprotoError::Text { .. })), "{text}");
    }
}

/// In brackets a message may stand in any other, and so in itself: to no depth that a parser survives.
#[test]
fn endless_nesting_is_refused() {
    for (open, close) in [("{", "}"), ("<", ">")] {
        let field = format!("[a/{DUCHY_CERT_CONFIG}] {open} ");
        for depth in [MAXIMUM_DEPTH, 100_000] {
            let text = field.repeat(depth) + &close.repeat(depth);
            assert!(matches!(DuchyDirectory::parse(&text), Err(ConfigError::Textproto(_))), "{depth}");
        }
    }
    // What stands in a string or a comment nests nothing.
    let braces = "{".repeat(100);
    let text = format!(
        "# {braces}'\nduchies {{ duchy_id: 'a' computation_control_service_cert_host: '{braces}\\'<' \
         root_certificate_skid: \"<<<<{braces}\" }} # {braces}"
    );
    assert!(DuchyDirectory::parse(&text).is_ok(), "{text}");
}

#[test]
fn principals_are_read_by_kind() {
    let map = r#"
        entries { authority_key_identifier: "\010" principal_resource_name: "dataProviders/abc-1_2" }
        entries { authority_key_identifier: "\011" principal_resource_name: "measurementConsumers/mc" }
        entries { authority_key_identifier: "\012" principal_resource_name: "kingdom" }
    "#;
    let entries = parse_principal_map(map).expect("well formed");
    assert_eq!(
        entries,
        [
            (vec![8], Caller::DataProvider("dataProviders/abc-1_2".into())),
            (vec![9], Caller::MeasurementConsumer("measurementConsumers/mc".into())),
            (vec![10], Caller::Kingdom),
        ]
    );
    for name in ["", "dataProviders", "dataProviders/", "dataProviders/a/b", "duchies/worker1", "kingdom/1"] {
        let map = format!(r#"entries {{ authority_key_identifier: "x" principal_resource_name: "{name}" }}"#);
        assert!(matches!(parse_principal_map(&map), Err(ConfigError::MalformedName(found)) if found == name));
    }
}

#[test]
fn a_data_provider_may_not_have_a_duchys_root() {
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    let map = r#"entries { authority_key_identifier: "\003" principal_resource_name: "dataProviders/1" }"#;
    std::fs::write(file.path(), map).expect("temporary file");
    let refused = load_principals(&directory(), Some(file.path())).expect_err("shared root");
    assert!(matches!(refused, ConfigError::Principals(PrincipalsError::DuplicateAuthority { .. })));
}

#[test]
fn unreadable_files_are_named() {
    let refused =
        DuchyDirectory::load(Path::new("/nonexistent/duchies.textproto")).expect_err("no such file");
    assert_eq!(refused.to_string(), "cannot read /nonexistent/duchies.textproto");
}

const WORKER1: &str = r#"
    liquid_legions_v2 { role: NON_AGGREGATOR external_aggregator_duchy_id: "aggregator" }
    reach_only_liquid_legions_v2 { role: NON_AGGREGATOR external_aggregator_duchy_id: "aggregator" }
    honest_majority_share_shuffle {
      role: FIRST_NON_AGGREGATOR
      first_non_aggregator_duchy_id: "worker1"
      second_non_aggregator_duchy_id: "worker2"
      aggregator_duchy_id: "aggregator"
    }
"#;

#[test]
fn roles_are_read() {
    let setup = ProtocolsSetup::parse(WORKER1, "worker1", &directory()).expect("consistent");
    let sketch = Some(SketchSetup { role: Role::NonAggregator, aggregator: "aggregator".into() });
    assert_eq!(setup.liquid_legions_v2, sketch);
    assert_eq!(setup.reach_only_liquid_legions_v2, sketch);
    let shares = setup.honest_majority_share_shuffle.expect("present");
    assert_eq!(shares.role, hmss::Role::FirstNonAggregator);
    assert_eq!(
        ProtocolsSetup::parse("", "worker1", &directory()).expect("no part"),
        ProtocolsSetup::default()
    );
}

#[test]
fn contradictory_roles_are_refused() {
    let refused = |text: &str, own| ProtocolsSetup::parse(text, own, &directory()).expect_err(text);
    assert!(
        matches!(refused(WORKER1, "worker2"), ConfigError::Role { role, .. } if role == "FIRST_NON_AGGREGATOR")
    );
    assert!(matches!(
        refused(WORKER1, "aggregator"),
        ConfigError::Role { protocol: "liquid_legions_v2", .. }
    ));
    assert!(
        matches!(refused(WORKER1, "worker9"), ConfigError::UnknownDuchy { duchy, .. } if duchy == "worker9")
    );
    for (from, to) in [
        ("NON_AGGREGATOR external", "AGGREGATOR external"),
        ("role: NON_AGGREGATOR external", "external"),
        ("FIRST_NON_AGGREGATOR", "SECOND_NON_AGGREGATOR"),
    ] {
        assert!(matches!(refused(&WORKER1.replace(from, to), "worker1"), ConfigError::Role { .. }), "{to}");
    }
    assert!(matches!(
        refused(&WORKER1.replacen("\"aggregator\"", "\"other\"", 1), "worker1"),
        ConfigError::UnknownDuchy { protocol: "liquid_legions_v2", duchy } if duchy == "other"
    ));
    assert!(matches!(
        refused(&WORKER1.replace("\"worker2\"", "\"worker1\""), "worker1"),
        ConfigError::SharedRole { duchy, .. } if duchy == "worker1"
    ));
}

#[test]
fn printed_messages_are_read_back() {
    let config: DuchyCertConfig = textproto::parse(DUCHY_CERT_CONFIG, DUCHIES).expect("well formed");
    let text = print_textproto(DUCHY_CERT_CONFIG, &config).expect("right name");
    assert_eq!(textproto::parse::<DuchyCertConfig>(DUCHY_CERT_CONFIG, &text).expect("own text"), config);
    assert!(matches!(
        print_textproto("wfa.Nothing", &config),
        Err(TextprotoError::UnknownMessage("wfa.Nothing"))
    ));
}
