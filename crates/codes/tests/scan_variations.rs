//! Variations of every format, and what only looks like a code.

use keyback_codes::scan::{Event, Scanner};

fn events(input: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut scanner = Scanner::new();
    for block in input.chunks(7) {
        scanner.feed(block, &mut |event| events.push(event));
    }
    scanner.finish(&mut |event| events.push(event));
    events
}

/// `family:code` of every event, sorted.
fn codes(input: impl AsRef<[u8]>) -> Vec<String> {
    let mut all: Vec<_> =
        events(input.as_ref()).iter().map(|event| format!("{}:{}", event.family, event.code)).collect();
    all.sort();
    all
}

#[track_caller]
fn holds(input: impl AsRef<[u8]>, expected: &[&str]) {
    let input = input.as_ref();
    assert_eq!(codes(input), expected, "{}", String::from_utf8_lossy(input));
}

const GUID: &str = "50126501-2650-4126-8501-265012650126";

#[test]
fn sign_ins_in_every_layout_give_the_same_codes() {
    let records = [
        r#"{"status":{"failureReason":"x","errorCode":50126},"id":"GUID"}"#,
        r#"{"id":"GUID","status":{"errorCode":0},"appDisplayName":"App 50126"}"#,
        r#"{"correlationId":"GUID","userDisplayName":"AADSTS50126 Test","status" : { "errorCode" : 53003 } }"#,
        r#"{"durationInMs":50126,"port":50053,"status":{"errorCode":"50055"}}"#,
    ]
    .map(|record| record.replace("GUID", GUID));
    let expected = ["aadsts:50055", "aadsts:50126", "aadsts:53003"];
    let list = records.join(",");
    holds(records.join("\n"), &expected);
    holds(records.join("\r\n") + "\r\n", &expected);
    holds(format!("\u{feff}{}", records.join("\n")), &expected);
    holds(format!("[{list}]"), &expected);
    holds(format!("[\n{}\n]", records.join(",\n")), &expected);
    holds(format!("{{\"value\":[{list}]}}"), &expected);
    holds(format!("{{\"value\":[{list}]}}\n"), &expected);
    holds(
        format!("{{\n  \"@odata.nextLink\": \"https://x/?$skiptoken=50126_1\",\n  \"value\": [\n{list}\n]}}"),
        &expected,
    );
    holds(format!("{{\"signIns\":[{list}]}}"), &expected);
    holds(
        format!("{{\"records\":[{list}]}}\n{{\"records\":[{list}]}}\n"),
        &["aadsts:50055", "aadsts:50055", "aadsts:50126", "aadsts:50126", "aadsts:53003", "aadsts:53003"],
    );
    // Printed over many lines, one after the other, without a list.
    let pretty = records.each_ref().map(|record| {
        serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(record).unwrap()).unwrap()
    });
    holds(pretty.join("\n"), &expected);
    holds(format!("[{}]", pretty.join(",\r\n")), &expected);
    // Cut off in the last record.
    holds(
        format!("{{\"value\":[{list},{{\"status\":{{\"errorCode\":50053,\"x\":\"y"),
        &["aadsts:50053", "aadsts:50055", "aadsts:50126", "aadsts:53003"],
    );
}

#[test]
fn a_record_with_lists_of_its_own_is_one_record() {
    let record = format!(
        "{{\n\"appliedConditionalAccessPolicies\": [{{\"id\":\"{GUID}\"}}, {{\"result\":\"failure\"}}],\n\"authenticationDetails\":[{{\"a\":1}}],\n\"status\": {{\"errorCode\": 50126, \"additionalDetails\":\"AADSTS50126: x\"}}, \"id\":\"1\"}}"
    );
    holds(&record, &["aadsts:50126"]);
    holds(format!("{{\"records\": [{record}, {record}]}}"), &["aadsts:50126", "aadsts:50126"]);
    let all = events(format!("{{\"records\": [{record},\n {record}]}}").as_bytes());
    assert_eq!(all.iter().map(|event| (event.record, event.line)).collect::<Vec<_>>(), [(1, 1), (2, 5)]);
}

#[test]
fn envelopes_count_a_record_once_whatever_repeats_its_code() {
    let record = r#"{"time":"2026-03-02T04:05:06Z","category":"SignInLogs","resultType":"50126","resultDescription":"AADSTS50126: wrong","durationMs":53003,"properties":{"status":{"errorCode":50126},"correlationId":"8B215C98-33AA-42C3-B40D-42A9BDEE6A79","userPrincipalName":"ada@example.org"}}"#;
    let success = r#"{"resultType":"0","properties":{"status":{"errorCode":0}}}"#;
    for input in [
        format!("{{\"records\":[{record},{success}]}}"),
        format!("{{\"records\" : [ {record} , {success} ] }}\r\n"),
        format!("{record}\n{success}\n"),
        format!("[{{\"records\":[{success},{record}]}}]"),
    ] {
        holds(&input, &["aadsts:50126"]);
        let event = &events(input.as_bytes())[0];
        assert_eq!(event.time.as_deref(), Some("2026-03-02T04:05:06Z"));
        assert_eq!(event.correlation_id.as_deref(), Some("8b215c98-33aa-42c3-b40d-42a9bdee6a79"));
        assert_eq!(event.user.as_deref(), Some("ada@example.org"));
    }
    holds(r#"{"records":[{"resultType":"Success","resultSignature":"50126"}]}"#, &[]);
}

#[test]
fn tables_are_read_by_the_names_of_their_columns() {
    let bom = "\u{feff}";
    for (input, expected) in [
        ("ResultType,DurationMs,CorrelationId\n50126,53003,x\n0,50126,y\n", &["aadsts:50126"][..]),
        ("TimeGenerated [UTC];ResultType;CorrelationId\r\n2026-03-02;50126;x\r\n", &["aadsts:50126"]),
        ("CorrelationId\tDurationMs\tResultType \nx\t50126\t53003\n", &["aadsts:53003"]),
        (
            "\"TimeGenerated\",\"ResultType\",\"Identity\"\n\"2026\",\"50126\",\"AADSTS50053 man\"\n",
            &["aadsts:50126"],
        ),
        (
            "Date (UTC),Username,Sign-in error code,Latency\n2026-03-02T04:05:06Z,a@example.org,50055,50126\n2026,b,,50126\n2026,b,0,7\n",
            &["aadsts:50055"],
        ),
        // A quote in a cell, a line break in quotes, a code that the JSON of another cell repeats.
        (
            "UserAgent,ResultType,UserPrincipalName,Status\nMozilla \"x,50126,a@example.org,\"{\"\"errorCode\"\": 50126,\n\"\"a\"\":1}\"\nb,53003,c,\n",
            &["aadsts:50126", "aadsts:53003"],
        ),
        ("sep=;\nTimeGenerated;ResultType;X\n1;50126;2\n", &["aadsts:50126"]),
        ("TimeGenerated,ResultType,X\n1,50126.0,2\n1,AADSTS53003,2\n", &["aadsts:50126", "aadsts:53003"]),
        ("TimeGenerated,Result Type,Result Type\n1,50126,50126", &["aadsts:50126"]),
        (
            "ActivityName,ErrorCode,FailureType,ErrorMessage,Start\nCopy50126,2200,UserError,\"AADSTS7000222: expired, renew\",2026\nOther,,,,2026\n",
            &["aadsts:7000222", "adf:2200"],
        ),
        (
            "LoggedByService,Result,ResultReason,X\nSelf-service Password Management,failure,OnPremisesConnectivityError,1\nSelf-service Password Management,success,OnPremisesConnectivityError,1\nCore Directory,failure,OnPremisesConnectivityError,1\n",
            &["sspr-reason:OnPremisesConnectivityError"],
        ),
        (
            "Level,Date and Time,Source,Event ID,Task Category\nError,3/2/2026 7:15:30 AM,PasswordResetService,33004,None,\"TrackingId: 7d13d619-99be-4406-ba60-0c64f37005ae, hr=80230626\"\nError,3/2/2026 7:15:30 AM,Outlook,31001,None,x\n",
            &["adsync-hr:80230626", "writeback-event:33004"],
        ),
    ] {
        holds(input, expected);
        holds(format!("{bom}{input}"), expected);
    }
    let rows = "TimeGenerated,ResultType,X\n".to_owned()
        + &"1,0,\"a\nb\"\n".repeat(3)
        + "2026-03-02 04:05:06.123,50126,y\n";
    let event = &events(rows.as_bytes())[0];
    assert_eq!((event.record, event.line, event.time.as_deref()), (4, 8, Some("2026-03-02T04:05:06.123Z")));
}

#[test]
fn audits_name_their_reason_only_for_password_management_that_failed() {
    let audit = |service: &str, result: &str, reason: &str| {
        format!(
            r#"{{"resultReason":"{reason}","result":"{result}","loggedByService":"{service}","id":"SSPR_1234_50126"}}"#
        )
    };
    let ours = "Self-service Password Management";
    holds(
        audit(ours, "failure", "OnPremisesAdminActionRequired"),
        &["sspr-reason:OnPremisesAdminActionRequired"],
    );
    for record in [
        audit(ours, "success", "OnPremisesAdminActionRequired"),
        audit(ours, "success", "Successfully completed reset."),
        audit(ours, "failure", "User's account is locked"),
        audit(ours, "failure", ""),
        audit("Core Directory", "failure", "OnPremisesAdminActionRequired"),
    ] {
        holds(format!("{{\"value\": [\n{record}\n]}}"), &[]);
        holds(record, &[]);
    }
}

#[test]
fn refreshes_and_runs_hold_json_in_strings() {
    holds(
        r#"{"value":[{"id":50126,"serviceExceptionJson":"{\"errorCode\":\"DM_GWPipeline_Client_GatewayUnreachable\",\"errorDescription\":\"AADSTS50126: x\"}","status":"Failed"},{"id":2,"status":"Completed"},{"serviceExceptionJson":"{\"errorCode\":\"SomethingNew_Happened\"}"}]}"#,
        &["aadsts:50126", "powerbi:DM_GWPipeline_Client_GatewayUnreachable", "powerbi:SomethingNew_Happened"],
    );
    holds(
        r#"{"error":{"code":"DM_GWPipeline_Gateway_MashupDataAccessError","pbi.error":{"code":"DM_GWPipeline_Gateway_MashupDataAccessError","details":[{"code":"DM_ErrorDetailNameCode_UnderlyingErrorCode","detail":{"value":"-2147467259"}}]}}}"#,
        &["powerbi:DM_GWPipeline_Gateway_MashupDataAccessError"],
    );
    holds(
        r#"{"value":[{"activityName":"AADSTS50126","error":{"failureType":"UserError","target":"x","errorCode":"2108","message":"ErrorCode=UserErrorSomethingElse,'Type=Microsoft.DataTransfer.Common,Message=AADSTS7000215: bad"}},{"error":{"errorCode":"","failureType":""}}]}"#,
        &["aadsts:7000215", "adf:2108", "adf:UserErrorSomethingElse"],
    );
}

#[test]
fn gateway_logs_keep_a_statement_together() {
    let head = |level: &str| {
        format!(
            "DM.EnterpriseGateway {level}: 0 : 2026-07-08T09:10:11.1234567Z DM.EnterpriseGateway\t{GUID}\t{GUID}\tMGEQ\t{GUID}\t50126501 [DM.GatewayCore] "
        )
    };
    let log = [
        head("Information") + "Executing query (timeout=50126) SELECT TOP (50053) port 50126 took 53003ms\r\n",
        head("Error") + "Failed: AADSTS50076: must use\r\nErrorShortName=MsalUiRequiredException\r\nInnerMessage=AADSTS50076: again\r\n   at Microsoft.X()\r\n\r\nGatewayPipelineErrorCode=x\r\n",
        head("Error") + "ErrorCode=-2147467259 GatewayPipelineErrorCode=DM_GWPipeline_Gateway_DataSourceAccessError\r\nDM_ErrorDetailNameCode_UnderlyingErrorCode=-1\r\nRepeated: DM_GWPipeline_Gateway_DataSourceAccessError\r\n",
        head("Error") + "Failed: AADSTS50076: must use\r\n",
    ]
    .concat();
    let expected = ["aadsts:50076", "aadsts:50076", "powerbi:DM_GWPipeline_Gateway_DataSourceAccessError"];
    holds(&log, &expected);
    holds(log.replace("\r\n", "\n"), &expected);
    holds(log.trim_end(), &expected);
    let wide: Vec<u8> = log.encode_utf16().flat_map(u16::to_le_bytes).collect();
    holds([&[0xff, 0xfe][..], &wide].concat(), &expected);
    holds(&wide, &expected);
    let wide: Vec<u8> = log.encode_utf16().flat_map(u16::to_be_bytes).collect();
    holds([&[0xfe, 0xff][..], &wide].concat(), &expected);
    holds(&wide, &expected);
    assert_eq!(events(log.as_bytes())[0].line, 2);
}

#[test]
fn exceptions_of_several_languages_are_one_statement_each() {
    let line = "azure.identity._internal.decorators: get_token failed: AADSTS7000215: Invalid client secret. Trace ID: x Timestamp: 2026-03-02 04:05:06Z\n";
    holds(line.repeat(3), &["aadsts:7000215"; 3]);
    holds(
        "Traceback (most recent call last):\n  File \"a.py\", line 3\n    raise X\nazure.core.exceptions.ClientAuthenticationError: AADSTS7000222: expired (7000222)\nTrace ID: y\n",
        &["aadsts:7000222"],
    );
    let java = "2026-03-02 04:05:06,123 ERROR [main] c.e.Foo - Failed: AADSTS700016: not found\ncom.microsoft.aad.msal4j.MsalServiceException: AADSTS700016: not found\n\tat com.x.Y(Z.java:50126)\nCaused by: x.y.Z: AADSTS700016: not found\n";
    holds(java.repeat(2), &["aadsts:700016"; 2]);
    holds("{'error': 'invalid_grant', 'error_codes': [50173], 'suberror': 'bad_token'}\n", &["aadsts:50173"]);
    holds(
        "{\"error\":\"invalid_grant\",\"error_codes\":[ 65001 ],\"error_uri\":\"https://login.microsoftonline.com/error?code=65001\"}\n",
        &["aadsts:65001"],
    );
    holds(
        "response &#39;{&#34;error&#34;:&#34;x&#34;,&#34;error_codes&#34;:[7000215]}&#39;\n",
        &["aadsts:7000215"],
    );
    holds("\x1b[31mAADSTS50057\x1b[0m: The user account is disabled\n", &["aadsts:50057"]);
    holds(
        "\x1b[0m04:12:44.555 [error]: x\nRuntime Error\n  Database Error\n    AADSTS50057: disabled (50057)\n\x1b[0m04:12:45 [debug]: AADSTS50057 again\n",
        &["aadsts:50057", "aadsts:50057"],
    );
    holds("msg='wrong\\r\\nAADSTS50034: no user\\nAADSTS50034'\n", &["aadsts:50034"]);
}

#[test]
fn addresses_are_read_through_their_escapes() {
    for (line, expected) in [
        ("GET /cb?error=x&error_description=AADSTS65004%3A%20User HTTP/1.1", &["aadsts:65004"][..]),
        ("GET /cb?error_description=%20AADSTS65004%3A+User&x=%22AADSTS65004%22", &["aadsts:65004"]),
        ("https://login.microsoftonline.com/error?code=50126&x=1", &["aadsts:50126"]),
        ("https://login.microsoftonline.us/error?code=50126", &["aadsts:50126"]),
        ("GET /orders?code=50126&error=1", &[]),
        ("https://shop.example.org/error?code=50126", &[]),
        ("https://login.microsoftonline.com/error?code=abc50126", &[]),
    ] {
        holds(line, expected);
    }
}

#[test]
fn numbers_and_names_that_are_no_codes_are_left_alone() {
    for line in [
        "XAADSTS50126 AADSTS50126X AADSTS50126_1 AADSTS501265012 AADSTS5012",
        "see AADSTS50126.html and run-AADSTS50126-retry and AADSTS50126@example.org",
        "GET /errors/AADSTS50126 HTTP/1.1",
        "SSPR_46d60756-9dde-4bb7-8387-f38111398faf SSPR_0029abcd-1111 SSPR_00291",
        "duration=50126 port 50053 TOP (53003) id 50126 took 50126ms",
        "errorCodeCount=50126 myerrorCode=50126 errorCode=99999 ErrorCode: 18456",
        "ERROR_CODE=5 ERROR_ACCESS_DENIED.md NO_ERROR_ACCESS_DENIED STATUS_SUCCESS",
        "0xC000006A at start; handle 0x80070005 flags",
        "pointer 0xC000006AFF status 0x80070005F",
        "result: 50 of 60 rows (50)",
        "ldap_cache: 12 hits (49 misses)",
        "data 775 rows; 0000052D nothing",
        "hr=9 hr=80230626x",
        "DM_GWPipeline_ DMTS_x ModelRefreshed",
        "LDAP server on port 389 took 53 ms; LDAP error 0",
    ] {
        holds(line, &[]);
        holds(format!("2026-03-02 04:05:06 {line}\r\n"), &[]);
    }
}

fn event_xml(provider: &str, id: u32, data: &str) -> String {
    format!(
        "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='{provider}'/><EventID Qualifiers='0'>{id}</EventID><TimeCreated SystemTime='2026-03-02T07:15:29.0Z'/><EventRecordID>33004</EventRecordID></System><EventData><Data>{data}</Data></EventData></Event>"
    )
}

#[test]
fn the_provider_of_a_windows_event_decides() {
    let all = [
        event_xml(
            "PasswordResetService",
            33008,
            "TrackingId: 7D13D619-99be-4406-ba60-0c64f37005ae, hr=80230619 hr=80230619",
        ),
        event_xml("Outlook", 33008, "same id"),
        event_xml(
            "ADSync",
            6329,
            "BAIL: MMS(1): ..\\x.cpp(2): 0x8023061F (no). Error Code: ERROR_ACCESS_DENIED",
        ),
        event_xml("ADSync", 50126, "not known"),
        event_xml("Directory Synchronization", 611, "x"),
        event_xml("Microsoft-AzureADPasswordProtection-DCAgent", 10016, "x"),
        event_xml("Microsoft-Windows-Security-Auditing", 4724, "x"),
        event_xml("Microsoft-Windows-AAD", 1098, "Error: AADSTS50126: wrong &amp; x, status 0xC000006A"),
    ];
    let expected = [
        "aadsts:50126",
        "adsync-event:6329",
        "adsync-hr:80230619",
        "adsync-hr:8023061F",
        "dirsync-event:611",
        "password-protection-event:10016",
        "win32:ERROR_ACCESS_DENIED",
        "windows-event:4724",
        "writeback-event:33008",
    ];
    let flat = format!("<?xml version=\"1.0\"?><Events>{}</Events>", all.concat());
    holds(&flat, &expected);
    holds(all.join("\r\n"), &expected);
    holds(flat.replace('\'', "\""), &expected);
    holds(flat.replace("><", ">\r\n  <"), &expected);
    holds(flat.replace(" Qualifiers='0'", ""), &expected);
    holds(flat.replace("Provider Name=", "Provider Guid='{1}' EventSourceName='Outlook' Name = "), &expected);
    let wide: Vec<u8> = flat.encode_utf16().flat_map(u16::to_be_bytes).collect();
    holds(&wide, &expected);
    let event = &events(flat.as_bytes())[0];
    assert_eq!(event.correlation_id.as_deref(), Some("7d13d619-99be-4406-ba60-0c64f37005ae"));
}

#[test]
fn windows_events_come_as_json_too() {
    holds(
        r#"[{"Id":33004,"ProviderName":"PasswordResetService","Message":"hr=80230626","TimeCreated":"\/Date(1772424306123)\/"},{"Id":33004,"ProviderName":"Outlook"}]"#,
        &["adsync-hr:80230626", "writeback-event:33004"],
    );
    holds(
        "{\"Event\":{\"System\":{\"Provider\":{\"#attributes\":{\"Name\":\"ADSync\"}},\"EventID\":6329}}}\n{\"winlog\":{\"provider_name\":\"PasswordResetService\",\"event_id\":\"31044\"}}\n",
        &["adsync-event:6329", "writeback-event:31044"],
    );
}

#[test]
fn windows_events_come_as_text_too() {
    let copied = "Log Name:      Application\r\nSource:        PasswordResetService\r\nDate:          3/2/2026 7:15:30 AM\r\nEvent ID:      33004\r\nTask Category: None\r\nLevel:         Error\r\nDescription:\r\nTrackingId: 7d13d619-99be-4406-ba60-0c64f37005ae, hr=80230626\r\n";
    holds(
        copied.repeat(2),
        &["adsync-hr:80230626", "adsync-hr:80230626", "writeback-event:33004", "writeback-event:33004"],
    );
    holds(copied.replace("PasswordResetService", "Outlook"), &["adsync-hr:80230626"]);
    let listed = "\n\nTimeCreated  : 3/2/2026 7:15:30 AM\nProviderName : PasswordResetService\nId           : 33004\nMessage      : TrackingId: 7d13d619-99be-4406-ba60-0c64f37005ae, hr=80230626\n";
    holds(
        listed.repeat(2),
        &["adsync-hr:80230626", "adsync-hr:80230626", "writeback-event:33004", "writeback-event:33004"],
    );
    assert_eq!(events(copied.as_bytes())[0].time.as_deref(), Some("2026-03-02T07:15:30Z"));
}

#[test]
fn ldap_diagnostics_of_many_programs() {
    for (line, expected) in [
        (
            "ldap_modify: Server is unwilling to perform (53)\n\tadditional info: 0000052D: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0\n",
            &["ldap:53", "win32:0000052D"][..],
        ),
        (
            "ldap_bind: Invalid credentials (49)\nadditional info: 80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data 52e, v2580\n",
            &["ad-bind:52e", "ldap:49"],
        ),
        // LTB self-service-password
        (
            "[Mon Mar 02 04:05:06 2026] [php:notice] [client 203.0.113.1:50126] LDAP - Modify password error 53 (Server is unwilling to perform)\n",
            &["ldap:53"],
        ),
        ("LDAP - Bind user error 49  (Invalid credentials)\n", &["ldap:49"]),
        (
            "PHP Warning:  ldap_mod_replace(): Modify: Constraint violation in /usr/share/x.php on line 50\n",
            &[],
        ),
        // PWM, Keycloak and other Java
        (
            "2026-03-02T04:05:06Z, ERROR, operations.PasswordUtility, {1} error setting password: javax.naming.OperationNotSupportedException: [LDAP: error code 53 - 0000052D: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0\n",
            &["ldap:53", "win32:0000052D"],
        ),
        (
            "2026-03-02 04:05:06,123 ERROR [org.keycloak.storage.ldap] (executor-thread-1) Could not modify attribute for DN [CN=a]: javax.naming.directory.InvalidAttributeValueException: [LDAP: error code 19 - 0000052D: AtrErr: DSID-03190FD6, #1:\n\t0: 0000052D: DSID-03190FD6, problem 1005 (CONSTRAINT_ATT_TYPE), data 0, Att 9005a (unicodePwd)\n]; remaining name 'CN=a'\n\tat java.base/x(Y.java:50)\n",
            &["ldap:19", "win32:0000052D"],
        ),
        // authentik, python-ldap
        (
            "{\"event\": \"Failed to set password\", \"exc\": \"LDAPUnwillingToPerformResult - 53 - unwillingToPerform - None - 0000052D: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0\"}\n",
            &["ldap:53", "win32:0000052D"],
        ),
        (
            "{'result': 53, 'description': 'unwillingToPerform', 'dn': '', 'message': '0000001F: SvcErr: DSID-031A12D2, problem 5003', 'type': 'modifyResponse'}\n",
            &["ldap:53", "win32:0000001F"],
        ),
        (
            "ldap.CONSTRAINT_VIOLATION: {'msgtype': 103, 'msgid': 5, 'result': 19, 'desc': 'Constraint violation', 'ctrls': [], 'info': '00000056: Constraint violation - check_password_restrictions: x'}\n",
            &["ldap:19", "win32:00000056"],
        ),
        // Go
        (
            "LDAP Result Code 49 \"Invalid Credentials\": 80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data 533, v4563\n",
            &["ad-bind:533", "ldap:49"],
        ),
        // Samba, Kerberos
        (
            "Failed to bind - LDAP error 49 LDAP_INVALID_CREDENTIALS - <8009030C: LdapErr: DSID-0C0904DC, comment: AcceptSecurityContext error, data 773, v1db1>\n",
            &["ad-bind:773", "ldap:49"],
        ),
        (
            "Auth: [Kerberos KDC] status [NT_STATUS_WRONG_PASSWORD] NT_STATUS_WRONG_PASSWORD\n",
            &["ntstatus:C000006A"],
        ),
        ("status 0xC000006A, substatus 0xc0000234\n", &["ntstatus:C000006A", "ntstatus:C0000234"]),
        ("krb5kdc: AS_REQ: KRB5KDC_ERR_PREAUTH_FAILED and KDC_ERR_PREAUTH_FAILED\n", &["krb:24"]),
        ("KrbException: Clock skew too great (37) - PROCESS_TGS\n", &["krb:37"]),
        (
            "NERR_PasswordTooShort; SAM_PWD_CHANGE_PWD_IN_HISTORY; KRB5_KPASSWD_SOFTERROR\n",
            &["kpasswd:4", "nerr:2245", "samr-reason:2"],
        ),
        // .NET, as the Okta AD agent and others log it
        (
            "2026/03/02 04:05:06.123 Error -- System.Runtime.InteropServices.COMException (0x800708C5): The password does not meet\n",
            &["hresult:800708C5"],
        ),
        ("Exception from HRESULT: 0x80070005 (E_ACCESSDENIED)\n", &["hresult:80070005"]),
    ] {
        holds(line, expected);
    }
}

#[test]
fn hostile_input_ends_and_what_is_around_it_is_found() {
    let deep = "[".repeat(100_000) + "\"AADSTS50126: x\"" + &"]".repeat(100_000);
    holds(&deep, &["aadsts:50126"]);
    let deep = "{\"a\":".repeat(100_000) + "\"AADSTS50126: x\"" + &"}".repeat(100_000);
    holds(&deep, &["aadsts:50126"]);
    let nul =
        [b"\0\xff\xfe\x80".as_slice(), b"x AADSTS50126: y\0\n", &[0; 5000], b"\nAADSTS53003\n"].concat();
    holds(nul, &["aadsts:50126", "aadsts:53003"]);
    let long = "x ".repeat(3 << 20) + "AADSTS50126: y " + &"z ".repeat(3 << 20) + "\nAADSTS53003: b\n";
    holds(&long, &["aadsts:50126", "aadsts:53003"]);
    let long = format!(
        "{{\"value\":[{{\"a\":\"{}\",\"status\":{{\"errorCode\":50126}},\"b\":\"{} AADSTS50126: x\"}},{{\"errorCode\":53003}}]}}",
        "x ".repeat(2 << 20),
        "y ".repeat(2 << 20)
    );
    holds(&long, &["aadsts:50126", "aadsts:53003"]);
    let open = "ResultType,CorrelationId,X\n50126,\"never closed\n".to_owned()
        + &"0,y,z\n".repeat(400_000)
        + "53003,y,z\n";
    assert!(codes(open).contains(&"aadsts:53003".to_owned()));
    holds("", &[]);
    holds("{", &[]);
    holds("\u{feff}", &[]);
}

#[test]
fn large_inputs_of_unknown_lists_are_taken_apart() {
    let record = format!(
        "{{\"id\":\"{GUID}\",\"policies\":[{{\"a\":\"{}\"}}],\"status\":{{\"errorCode\":50126}}}}",
        "x".repeat(300)
    );
    let list = vec![record; 5000].join(",\n");
    assert_eq!(codes(format!("{{\"signIns\":[{list}]}}")).len(), 5000);
    let all = events(format!("{{\"value\":[{list}]}}").as_bytes());
    assert_eq!(all.last().map(|event| (event.record, event.line)), Some((5000, 5000)));
}

#[test]
fn a_record_with_more_codes_than_are_reported_says_so() {
    let told = |input: &str| {
        let (mut scanner, mut found) = (Scanner::new(), 0);
        scanner.feed(input.as_bytes(), &mut |_| found += 1);
        scanner.finish(&mut |_| found += 1);
        (found, scanner.notes().iter().any(|note| note.starts_with("a record holds more than 256 codes")))
    };
    let words = |many: u32| {
        (0..many).map(|number| format!("AADSTS{}", 50_000 + number)).collect::<Vec<_>>().join(" ")
    };
    for (many, expected) in [(256, (256, false)), (257, (256, true)), (1000, (256, true))] {
        let words = words(many);
        assert_eq!(told(&format!("2026-03-02 04:05:06 {words}\n2026-03-02 04:05:07 end\n")), expected);
        assert_eq!(told(&format!("{{\"m\":\"{words}\"}}\n{{\"m\":\"\"}}\n")), expected);
        assert_eq!(told(&format!("{{\"value\":[\n{{\"m\":\"{words}\"}}\n]}}")), expected);
        assert_eq!(told(&format!("ResultType,CorrelationId,Status\n0,,\"{words}\"\n")), expected);
        assert_eq!(
            told(&format!("ResultType,CorrelationId,Status\n0,,\"{{\"\"m\"\":\"\"{words}\"\"}}\"\n")),
            expected
        );
        assert_eq!(told(&event_xml("PasswordResetService", 33_004, &words)), (expected.0, many > 255));
    }
    // Two records of 200 are none with more than 256.
    assert_eq!(told(&format!("{0}\n{0}\n", words(200))), (400, false));
}
