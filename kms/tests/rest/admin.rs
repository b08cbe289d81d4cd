//! Where a host is administered: only the operator is let in there, and the operator has no way to keys and secrets.

use crate::{
    client::{Client, tls_at},
    region::Region,
    walk::turned_away,
};
use kms::operator::admin::AdminError;

/// Whether a certificate, or none, gets no answer where the host is administered.
async fn kept_out(region: &Region, pair: Option<(&str, &str)>) -> bool {
    match Client::connect_admin(region, pair).await {
        Err(_) => true,
        // TLS 1.3: the alert comes with the first answer.
        Ok(mut client) => {
            let request = http::Request::builder().uri("/admin/v1/status").header("host", "kms");
            client.send(request.body(Default::default()).expect("a request")).await.is_err()
        }
    }
}

#[tokio::test]
async fn the_operator_is_let_in_and_nobody_else() {
    let region = Region::new().await;
    let status = region.operator().status().await.expect("an answer");
    assert_eq!((status.node.as_str(), status.region.as_str()), ("host-a1", "eu-west-rbx"));
    assert!(status.can_read && status.can_write && status.start != 0);

    let client = &region.bundle.clients[0];
    assert!(kept_out(&region, Some((&client.cert_pem, &client.key_pem))).await, "a client's certificate");
    assert!(kept_out(&region, None).await, "no certificate");
    let (cert, key) = (region.host_file("node.crt"), region.host_file("node.key"));
    assert!(kept_out(&region, Some((&cert, &key))).await, "a host's certificate");
    let host = region.admin_as(&cert, &key).status().await;
    assert!(matches!(host, Err(AdminError::Unreachable(_))), "{host:?}");
}

#[tokio::test]
async fn the_operator_gets_nothing_of_the_clients() {
    let region = Region::new().await;
    let mut client = region.client().await;
    let key = client.create("k").await;
    let (cert, own) = (region.operator_file("operator.crt"), region.operator_file("operator.key"));
    assert!(turned_away(&region, &cert, &own).await, "no client certificate at the REST endpoint");

    let mut operator = Client::connect_admin(&region, Some((&cert, &own))).await.expect("let in");
    operator.base = client.base.clone();
    for path in [format!("/servicekey/{key}"), "/servicekey".to_owned(), "/random".to_owned()] {
        let answer = operator.get(&path).await;
        assert_eq!((answer.status, answer.text("error_id")), (404, "path_not_found"), "{path}");
    }
    assert_eq!(client.get("/admin/v1/status").await.status, 404, "and clients nothing of the operator's");
}

#[tokio::test]
async fn administration_speaks_http_2_to_who_wants_it() {
    let region = Region::new().await;
    let (cert, key) = (region.operator_file("operator.crt"), region.operator_file("operator.key"));
    let pair = Some((cert.as_str(), key.as_str()));
    for (offered, chosen) in
        [(vec!["h2", "http/1.1"], Some("h2")), (vec!["http/1.1"], Some("http/1.1")), (vec![], None)]
    {
        let stream = tls_at(&region, region.admin.address(), pair, &offered).await.expect("let in");
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen.map(str::as_bytes));
    }
}
