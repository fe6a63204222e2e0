//! Descriptors to test with: real ones and random ones.

use crate::descriptor::{
    AccessMask, Ace, AceFlags, AceType, Acl, Body, Control, Layout, Rights, SecurityDescriptor,
};
use crate::guid::{self, Guid};
use crate::sid::Sid;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

/// One descriptor of the lab.
pub struct Sample {
    /// Samba's.
    pub version: &'static str,
    pub dn: &'static str,
    pub domain: Sid,
    pub bytes: Vec<u8>,
    pub sddl: &'static str,
}

pub fn samples() -> Vec<Sample> {
    let (mut of, mut samples) = (None, Vec::new());
    for line in include_str!("samples.tsv").lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            of = comment.split_once(' ').and_then(|(version, sid)| Some((version, sid.parse::<Sid>().ok()?)));
        } else if let [dn, bytes, sddl] = *line.split('\t').collect::<Vec<_>>() {
            let (version, domain) = of.clone().expect("a domain comes first");
            samples.push(Sample { version, dn, domain, bytes: STANDARD.decode(bytes).unwrap(), sddl });
        }
    }
    assert!(samples.len() > 5, "no samples");
    samples
}

pub fn sample(dn: &str) -> Sample {
    samples().into_iter().rev().find(|sample| sample.dn.starts_with(dn)).expect("a sample")
}

pub fn sid() -> impl Strategy<Value = Sid> {
    let known = prop::sample::select(vec!["S-1-1-0", "S-1-5-10", "S-1-5-11", "S-1-3-4", "S-1-5-32-544"]);
    let any_sid = (0_u64..1 << 48, prop::collection::vec(any::<u32>(), 0..6));
    prop_oneof![
        known.prop_map(|text| text.parse().unwrap()),
        any_sid.prop_map(|(authority, parts)| Sid::well_known(authority, &parts)),
    ]
}

fn guid() -> impl Strategy<Value = Option<Guid>> {
    let known = vec![guid::RESET_PASSWORD, guid::USER, guid::PWD_LAST_SET, guid::ACCOUNT_RESTRICTIONS];
    prop::option::of(prop_oneof![prop::sample::select(known), any::<[u8; 16]>().prop_map(Guid::from_wire)])
}

/// An ACE of any type, also of those that nobody has defined.
pub fn ace() -> impl Strategy<Value = Ace> {
    let more = prop::collection::vec(any::<u8>(), 0..8);
    (0_u8..0x18, any::<u8>(), any::<u32>(), guid(), guid(), sid(), more).prop_map(
        |(kind, flags, mask, object_type, inherited_object_type, sid, more)| {
            let kind = AceType(kind);
            let object = kind.is_object();
            let rights = Rights {
                mask: AccessMask(mask),
                object_type: object_type.filter(|_| object),
                inherited_object_type: inherited_object_type.filter(|_| object),
                sid,
                more: more.clone(),
            };
            let body = match kind.shape() {
                super::ace::Shape::Opaque => Body::Opaque(more),
                super::ace::Shape::Simple | super::ace::Shape::Object => Body::Rights(rights),
            };
            Ace { kind, flags: AceFlags(flags), body }
        },
    )
}

/// The four types that decide, as other tools know them too.
pub fn plain_ace() -> impl Strategy<Value = Ace> {
    let kinds = [AceType::ALLOW, AceType::DENY, AceType::ALLOW_OBJECT, AceType::DENY_OBJECT];
    (prop::sample::select(kinds.to_vec()), ace()).prop_filter_map("opaque", |(kind, ace)| {
        let mut rights = ace.rights()?.clone();
        rights.more = Vec::new();
        if !kind.is_object() {
            (rights.object_type, rights.inherited_object_type) = (None, None);
        }
        Some(Ace { kind, flags: AceFlags(ace.flags.0 & 0x1f), body: Body::Rights(rights) })
    })
}

fn acl(of: impl Strategy<Value = Ace>) -> impl Strategy<Value = Option<Acl>> {
    prop::option::weighted(0.9, prop::collection::vec(of, 0..8).prop_map(Acl::new))
}

pub fn descriptor(of: impl Strategy<Value = Ace> + Clone) -> impl Strategy<Value = SecurityDescriptor> {
    let sids = (prop::option::of(sid()), prop::option::of(sid()));
    (any::<u16>(), sids, acl(of.clone()), acl(of)).prop_map(|(control, (owner, group), sacl, dacl)| {
        // What SDDL can say.
        let sayable = Control(control & 0x3f14) | Control::SELF_RELATIVE;
        let dacl = dacl.filter(|_| sayable.contains(Control::DACL_PRESENT));
        let sacl = sacl.filter(|_| sayable.contains(Control::SACL_PRESENT));
        let unsaid = |control: Control, present, bits| {
            if control.contains(present) { control } else { control.without(Control(bits)) }
        };
        let control = unsaid(sayable, Control::DACL_PRESENT, 0x1500);
        let control = unsaid(control, Control::SACL_PRESENT, 0x2a00);
        SecurityDescriptor { control, owner, group, sacl, dacl, layout: Layout::default() }
    })
}
