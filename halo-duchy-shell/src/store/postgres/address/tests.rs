use super::*;

fn parse(text: &str) -> PostgresAddress {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> String {
    match text.parse::<PostgresAddress>() {
        Err(AddressError::Part { what, .. }) => what.to_owned(),
        Err(error) => error.to_string(),
        Ok(address) => panic!("{text} is taken: {address}"),
    }
}

#[test]
fn an_address_is_read_as_it_is_written() {
    for text in [
        "postgres://duchy@db.example.com/duchy",
        "postgres://duchy@db.example.com:5433/duchy?password_file=/run/secrets/db&sslrootcert=/etc/rds.pem",
        "postgres://duchy@10.0.0.1/duchy?password_env=DB_PASSWORD&sslmode=disable",
        #[cfg(feature = "aws-secrets")]
        "postgres://duchy@db.example.com/duchy?password_secret=us-west-2/halo/worker1-db",
        "postgres://duchy@[2001:db8::1]:1/duchy?connections=20&statement_timeout=1500ms",
        "postgres://a%40b%3Ac@127.0.0.1/d%3Fe%20f%2Fg%40?sslmode=verify-full",
        "postgres://duchy@/duchy?host=/var/run/postgresql",
        "postgres://duchy@:5433/duchy?host=/tmp/a%20b",
    ] {
        assert_eq!(parse(text).to_string(), text);
    }
    assert_eq!(
        parse("postgresql://u@h/d"),
        parse("postgres://u@h:5432/d?connections=8&statement_timeout=30s")
    );
}

#[test]
fn what_is_not_said_is_safe() {
    let encryption = |text: &str| parse(text).encryption;
    let verified = Encryption::Verified { roots: None };
    for remote in ["db.example.com", "10.0.0.1", "[2001:db8::1]", "localhost.example.com", "127.0.0.1.nip.io"]
    {
        assert_eq!(encryption(&format!("postgres://u@{remote}/d")), verified, "{remote}");
    }
    for local in ["localhost", "127.0.0.1", "127.8.9.10:99", "[::1]"] {
        assert_eq!(encryption(&format!("postgres://u@{local}/d")), Encryption::Off, "{local}");
    }
    let roots = Encryption::Verified { roots: Some("/ca.pem".into()) };
    assert_eq!(encryption("postgres://u@localhost/d?sslrootcert=/ca.pem"), roots);
    let plain = parse("postgres://u@h/d");
    assert_eq!((plain.connections, plain.statement_timeout), (8, Duration::from_secs(30)));
    assert_eq!(plain.password, PasswordSource::None);
}

#[test]
fn a_password_is_taken_and_not_shown() {
    let address = parse("postgres://u:pass%40word@h/d");
    assert_eq!(address.password, PasswordSource::Given(Password::new("pass@word")));
    for shown in [address.to_string(), format!("{address:?}"), format!("{address:#?}")] {
        assert!(!shown.contains("pass") && shown.contains("postgres://u@h/d"), "{shown}");
    }
    // Nor is it when it stands where nobody looks for it.
    for text in [
        "postgres://u:secret@h",
        "postgres://u:a@b/secret@h/d",
        "u:secret@h/d",
        "postgres://u:secret@h:port/d",
        "postgres://u:secret@/d",
    ] {
        let error = text.parse::<PostgresAddress>().expect_err("no address");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
}

#[test]
fn anything_else_is_refused() {
    for text in ["", "duchy", "mysql://u@h/d", "postgres://u@h", "postgres://h/d", "postgres://"] {
        assert_eq!(text.parse::<PostgresAddress>(), Err(AddressError::Form), "{text}");
    }
    assert_eq!(refusal("postgres://@h/d"), "user");
    assert_eq!(refusal("postgres://u%00@h/d"), "user");
    assert_eq!(refusal("postgres://u@h/"), "database");
    assert_eq!(refusal("postgres://u@h/d%ff"), "database");
    for host in ["", "a b", "h/x@", "::1", "[h]", "[127.0.0.1]", "a..b"] {
        let text = format!("postgres://u@{host}/d");
        assert!(text.parse::<PostgresAddress>().is_err(), "{text}");
    }
    assert_eq!(refusal("postgres://u@h/d?host=/tmp"), "host");
    assert_eq!(refusal("postgres://u@/d?host=tmp"), "host");
    for port in ["0", "65536", "-1", "x", ""] {
        assert_eq!(refusal(&format!("postgres://u@h:{port}/d")), "port", "{port}");
    }
    for mode in ["require", "prefer", "verify-ca", "disable&sslrootcert=/ca.pem"] {
        assert_eq!(refusal(&format!("postgres://u@h/d?sslmode={mode}")), "sslmode");
    }
    assert_eq!(refusal("postgres://u@/d?host=/tmp&sslmode=verify-full"), "sslmode");
    assert_eq!(refusal("postgres://u:p@h/d?password_env=P"), "password");
    assert_eq!(refusal("postgres://u@h/d?password_env=P&password_file=/p"), "password");
    for secret in ["name", "/name", "us-west-2/"] {
        assert_eq!(
            refusal(&format!("postgres://u@h/d?password_secret={secret}")),
            "password_secret",
            "{secret}"
        );
    }
    for connections in ["0", "1001", "x"] {
        assert_eq!(refusal(&format!("postgres://u@h/d?connections={connections}")), "connections");
    }
    assert_eq!(refusal("postgres://u@h/d?statement_timeout=25d"), "statement_timeout");
    assert_eq!(refusal("postgres://u@h/d?statement_timeout=10ns"), "statement_timeout");
    let zero = "postgres://u@h/d?statement_timeout=0s".parse::<PostgresAddress>();
    assert_eq!(zero, Err(AddressError::StatementTimeout(DurationError::Zero)));
    assert!(refusal("postgres://u@h/d?ssl=true").contains("\"ssl\""));
    assert!(refusal("postgres://u@h/d?sslmode=disable&sslmode=disable").contains("twice"));
}
