#!/usr/bin/python3
"""lab/bulk N - add N users quickly, straight into the DC's own database in one transaction (root, on the DC's machine; the DC may run).
   eval "$(dc-up)"; lab/bulk 20000                      # ~2,000 users/s
options: --dir /tmp/adlab/dc  --ou 'OU=Bulk'  --prefix u  --start 0  --groups G (spread over G groups)  --ous K (spread over K child OUs)
  --password P  one password for all, stored as NT hash only (simple bind, NTLM and RC4 work; no AES keys until the first reset). Default: Bulk-Pass1!
  --no-password  accounts without any password     --dup D  D pairs of users that share a proxyAddress     --anchor  set mS-DS-ConsistencyGuid
Users: sAMAccountName u000000.., UPN u000000@realm, givenName, sn, displayName, mail, proxyAddresses (2), telephoneNumber, mobile, employeeID."""
import argparse, sys, time, uuid, hashlib
ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument('n', type=int); ap.add_argument('--dir', default='/tmp/adlab/dc'); ap.add_argument('--ou', default='OU=Bulk'); ap.add_argument('--prefix', default='u')
ap.add_argument('--start', type=int, default=0); ap.add_argument('--groups', type=int, default=0); ap.add_argument('--ous', type=int, default=0)
ap.add_argument('--password', default='Bulk-Pass1!'); ap.add_argument('--no-password', action='store_true'); ap.add_argument('--dup', type=int, default=0); ap.add_argument('--anchor', action='store_true')
a = ap.parse_args()
import ldb
from samba.samdb import SamDB
from samba.auth import system_session
from samba.param import LoadParm
lp = LoadParm(); lp.load(a.dir + '/etc/smb.conf')
db = SamDB(a.dir + '/private/sam.ldb', session_info=system_session(), lp=lp, options=['batch_mode:1'], flags=ldb.FLG_NOSYNC)
base, dom = db.domain_dn(), lp.get('realm').lower()
def md4_nt(p):  # NT hash; hashlib may lack MD4 (OpenSSL 3), so ask Samba
    from samba.credentials import Credentials
    c = Credentials(); c.set_password(p); return bytes(c.get_nt_hash())
nt = None if a.no_password else md4_nt(a.password)
RAW = ['local_oid:1.3.6.1.4.1.7165.4.3.12:0', 'relax:0']  # bypass_password_hash: store the hash as given
def ensure(dn, **kw):
    parent = ldb.Dn(db, dn).parent()  # look first: in batch mode one failed add dooms the whole transaction
    if not db.search(parent, ldb.SCOPE_ONELEVEL, '(%s)' % dn.split(',')[0].replace('OU=', 'ou=').replace('CN=', 'cn='), attrs=['1.1']): db.add(dict(dn=dn, **kw))
t0 = time.time(); root = a.ou if a.ou.upper().endswith(base.upper()) else a.ou + ',' + base
db.transaction_start()
try:
    ensure(root, objectClass='organizationalUnit')
    ous = [root] if not a.ous else ['OU=Part%02d,%s' % (i, root) for i in range(a.ous)]
    for o in ous[0 if a.ous else 1:]: ensure(o, objectClass='organizationalUnit')
    G = [[] for _ in range(a.groups)]; now = int((time.time() + 11644473600) * 10**7)
    FN = 'Ada Alan Grace Linus Barbara Ken Edsger Donald Radia Tim Vint Frances Dennis Margaret Guido Bjarne'.split(); SN = 'Lovelace Turing Hopper Torvalds Liskov Thompson Dijkstra Knuth Perlman Lee Cerf Allen Ritchie Hamilton Rossum'.split()
    for i in range(a.start, a.start + a.n):
        s = '%s%06d' % (a.prefix, i); f, l = FN[i % 16], SN[i % 15]; dn = 'CN=%s,%s' % (s, ous[i % len(ous)])
        proxies = ['SMTP:%s@%s' % (s, dom), 'smtp:%s.%s.%d@%s' % (f.lower(), l.lower(), i, dom)]
        if i - a.start < 2 * a.dup: proxies.append('smtp:dup%d@%s' % ((i - a.start) // 2, dom))
        m = dict(dn=dn, objectClass='user', sAMAccountName=s, userPrincipalName='%s@%s' % (s, dom), givenName=f, sn=l, displayName='%s %s %d' % (f, l, i), mail='%s@%s' % (s, dom),
                 proxyAddresses=proxies, telephoneNumber='+49 30 %07d' % i, mobile='+49 170 %07d' % i, employeeID=str(i), userAccountControl='512' if nt else '544')
        if a.anchor: m['mS-DS-ConsistencyGuid'] = uuid.uuid5(uuid.NAMESPACE_DNS, s).bytes_le
        if nt: m['unicodePwd'] = nt; m['pwdLastSet'] = str(now)
        db.add(m, controls=RAW if nt else None)
        if a.groups: G[i % a.groups].append(dn)
        if (i - a.start) % 5000 == 4999: print('lab/bulk: %d users, %.0f/s' % (i - a.start + 1, (i - a.start + 1) / (time.time() - t0)), file=sys.stderr)
    for g, mem in enumerate(G):
        gdn = 'CN=%s-group%03d,%s' % (a.prefix, g, root); ensure(gdn, objectClass='group', sAMAccountName='%s-group%03d' % (a.prefix, g))
        m = ldb.Message(ldb.Dn(db, gdn)); m['member'] = ldb.MessageElement(mem, ldb.FLAG_MOD_ADD, 'member'); db.modify(m)
    t1 = time.time(); db.transaction_commit()
except BaseException:
    try: db.transaction_cancel()
    except ldb.LdbError: pass
    raise
print('lab/bulk: %d users under %s in %.1f s (commit %.1f s)' % (a.n, root, time.time() - t0, time.time() - t1))
