use super::*;

/// What is found: the address of the best entry, or the query with a question mark.
fn found(text: &str) -> Vec<String> {
    let say = |answer: &Found| {
        answer.entries.first().map_or_else(|| format!("{}?", answer.query), |entry| entry.address())
    };
    explain_text(text).iter().map(say).collect()
}

fn check(cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(found(text), *expected, "{text}");
    }
}

#[test]
fn sign_in_errors() {
    check(&[
        (
            "Sorry, AADSTS50126: Error validating credentials due to invalid username or password. Trace ID: \
             8def7dae-6974-461e-b187-4ae9948807b7 Correlation ID: dc43e879-27bf-4e30-8086-ee23e22d4d0c Timestamp: 2026-03-02 04:05:06Z",
            &["aadsts:50126"],
        ),
        (
            r#"{"error":"invalid_grant","error_description":"AADSTS65001: ...\r\nAADSTS50076: ...","error_codes":[65001]}"#,
            &["aadsts:65001", "aadsts:50076"],
        ),
        (
            r#"{"status":{"errorCode":50126,"failureReason":"Error validating credentials"}}"#,
            &["aadsts:50126"],
        ),
        (r#"\"errorCode\":\"50053\""#, &["aadsts:50053"]),
        ("Sign-in error code 50126", &["aadsts:50126"]),
        ("Error Code: 50053  Request Id: 752f12d1-adc5-4171-bfd8-1e08bcdece05", &["aadsts:50053"]),
        ("ResultType: 120014", &["aadsts:120014"]),
        ("?error=access_denied&error_description=aadsts65004%3a+User+declined", &["aadsts:65004"]),
        ("AADSTS50126 and aadsts50126 and AADSTS_50126", &["aadsts:50126"]),
        ("AADSTS999999: something new", &["AADSTS999999?"]),
        (
            "Azure.Identity.AuthenticationFailedException (0x80131500): Original exception: AADSTS700027: The certificate",
            &["aadsts:700027"],
        ),
        ("truncated log line AADSTS501", &[]),
    ]);
}

#[test]
fn the_password_reset_page_and_its_events() {
    check(&[
        ("We're sorry (SSPR_0029: We can't reset your password)", &["sspr:0029"]),
        ("SSPR_0029, then SSPR_9999", &["sspr:0029", "SSPR_9999?"]),
        ("Event ID 33004 on the server, then error code 120015", &["writeback-event:33004", "aadsts:120015"]),
        ("EventID: 31034", &["writeback-event:31034"]),
        ("<EventID>33004</EventID>", &["writeback-event:33004"]),
        ("EventCode=33008 hr=80230626", &["writeback-event:33008", "adsync-hr:80230626"]),
        ("PasswordChangeOnPremComplexity after hr=0x80230626", &["aadsts:120004", "adsync-hr:80230626"]),
        ("statusReason: OnPremisesAdminActionRequired", &["sspr-reason:OnPremisesAdminActionRequired"]),
        ("cause rights.deny_ace on alice", &["keyback:rights.deny_ace"]),
    ]);
}

#[test]
fn answers_of_a_directory() {
    check(&[
        (
            "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 775, v1db1",
            &["ad-bind:775"],
        ),
        (
            "[LDAP: error code 49 - 80090308: LdapErr: DSID-0C09042A, comment: AcceptSecurityContext error, data 52e, v3839]",
            &["ldap:49", "ad-bind:52e"],
        ),
        (
            "ldap_modify: Server is unwilling to perform (53)\n\tadditional info: 0000052D: SvcErr: DSID-031A12D2, \
             problem 5003 (WILL_NOT_PERFORM), data 0",
            &["ldap:53", "win32:0000052D", "ad-problem:5003"],
        ),
        (
            "ldap_modify: Constraint violation (19) additional info: 0000052D: Constraint violation - \
             check_password_restrictions: the password was already used (in history)!",
            &["ldap:19", "win32:0000052D"],
        ),
        (
            r#"LDAP Result Code 50 "Insufficient Access Rights": 00002098: SecErr: DSID-031514A0, problem 4003 (INSUFF_ACCESS_RIGHTS), data 0"#,
            &["ldap:50", "win32:00002098", "ad-problem:4003"],
        ),
        ("ldap_err=50 while setting unicodePwd", &["ldap:50"]),
        ("LDAP 53", &["ldap:53"]),
        ("LDAP error 53 and error code 49", &["ldap:53", "ldap:49"]),
        ("ldap.UNWILLING: {'result': 53, 'desc': 'Server is unwilling to perform'}", &["ldap:53"]),
        ("data 775", &["ad-bind:775"]),
        ("bind refused, data 533.", &["ad-bind:533"]),
    ]);
}

#[test]
fn windows_and_kerberos() {
    check(&[
        ("it ended with 0x8007052E", &["win32:0000052E"]),
        ("HRESULT 0x80070005", &["hresult:80070005"]),
        ("0x52D", &["win32:0000052D"]),
        ("exit with -2147016552", &["hresult:80072098"]),
        ("System error 1326 has occurred.", &["win32:0000052E"]),
        ("Win32Exception (1325): Unable to update the password", &["win32:0000052D"]),
        ("ERROR_PASSWORD_RESTRICTION", &["win32:0000052D"]),
        ("Status: 0xC000006D Sub Status: 0xC0000064", &["ntstatus:C000006D", "ntstatus:C0000064"]),
        ("Event 4771, Failure Code: 0x18", &["krb:24"]),
        ("KDC_ERR_PREAUTH_FAILED", &["krb:24"]),
        ("got KRB_AP_ERR_SKEW from the KDC", &["krb:37"]),
        ("NT_STATUS? STATUS_PASSWORD_RESTRICTION!", &["ntstatus:C000006C"]),
        ("failed with 0x8FFFFFF1", &["0x8FFFFFF1?"]),
    ]);
}

#[test]
fn what_is_no_code_is_not_taken_for_one() {
    check(&[
        ("version 2.3.20.0 on port 636 at 07:15 took 1325 ms", &[]),
        ("2026-03-02T04:05:06.1234567Z 50126 rows in 53 ms on dc1.ad.example:389", &[]),
        ("00002098-0000-4000-8000-00000000052e and 8def7dae-6974-461e-b187-4ae9948807b7", &[]),
        ("status code 401, HTTP error 500, exit code 49, return code 53", &[]),
        ("SELECT TOP (50126) FROM sales; payload with ID 50053; duration=50126", &[]),
        ("read data 530 rows; problem 12; event 7", &[]),
        ("error code 0, LDAP 0, 0x0, result: 0", &[]),
        ("your verification code 50126", &[]),
        ("20260302: a day; 10.0.0.49 (49)", &[]),
        ("pointer 0x00007ffd52d052e0", &[]),
        ("nothing here. Really, Nothing_at_all", &[]),
        ("", &[]),
    ]);
}

#[test]
fn bare_codes_side_by_side_are_all_meant() {
    check(&[
        ("120008 33004", &["aadsts:120008", "writeback-event:33004"]),
        ("52e, 0x2098", &["win32:00002098"]),
        ("120008 of 33004", &[]),
    ]);
}

#[test]
fn hostile_text_is_read_in_bounds() {
    for text in [
        "AADSTS".repeat(20_000),
        "0x".repeat(50_000),
        "-".repeat(100_000),
        "error code ".repeat(10_000),
        "é0x52Dé(".repeat(1000),
    ] {
        assert!(explain_text(&text).len() <= 1, "{}", &text[..12]);
    }
    assert_eq!(found("Fehler: “AADSTS50126”"), ["aadsts:50126"]);
    assert_eq!(found("é(53) ldap é (53)"), Vec::<String>::new());
}
