"""Breakages of the domain controller: its processes, its certificate, its clock."""
import os
import re
import shutil
import signal
import subprocess
import time

from .world import Plain, write_file


def stopped(record):
    record.restarts()
    record.file(record.world.records + "/down", "")
    record.later.append(record.world.stop)


def frozen(record):
    record.note("dc", do="continue")
    record.later.append(lambda: record.world.signal(signal.SIGSTOP))


def certificate(expired=False, name=None, other_ca=False):
    """As lib/dc makes it, but for one thing."""
    def do(record):
        world, work = record.world, record.world.records + "/tls"
        tls = world.dir + "/tls"
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(work, mode=0o700)

        def openssl(*words):
            subprocess.run(["openssl", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=work)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        with open(tls + "/ca.cnf", encoding="utf-8") as text:
            conf = text.read().replace(tls, work)
        fqdn = re.search("DNS:([^,\n]*)", conf)[1]
        if name:
            conf = re.sub("subjectAltName=.*", f"subjectAltName=DNS:{name}", conf)
        write_file(work + "/ca.cnf", conf.encode(), 0o600)
        write_file(work + "/db", b"", 0o600)
        write_file(work + "/serial", os.urandom(8).hex().upper().encode() + b"\n", 0o600)
        ca, ca_key = tls + "/ca.pem", tls + "/ca.key"
        if other_ca:
            ca, ca_key = work + "/ca.pem", work + "/ca.key"
            openssl("req", "-x509", *key, "-keyout", ca_key, "-out", ca, "-days", "3650", "-subj", "/CN=nobody's CA",
                    "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl("req", "-new", *key, "-keyout", "key.pem", "-out", "req.pem", "-subj", f"/CN={name or fqdn}")
        now = time.time()
        begin, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(now + days * 86400)) for days in (-30, -1 if expired else 825))
        openssl("ca", "-batch", "-config", "ca.cnf", "-cert", ca, "-keyfile", ca_key, "-in", "req.pem", "-out", "cert.pem", "-notext",
                "-startdate", begin, "-enddate", end)
        record.restarts()
        for part, mode in (("cert.pem", 0o644), ("key.pem", 0o600)):
            with open(f"{work}/{part}", "rb") as new:
                record.file(f"{tls}/{part}", new.read(), mode)
        shutil.rmtree(work)
        record.later.append(world.restart)
    return do


def clock_skew(record):
    if not os.path.exists(record.world.records + "/libfaketime.so.1"):
        raise Plain("this needs Debian's package libfaketime: apt-get install --no-install-recommends libfaketime")
    record.restarts()
    record.file(record.world.records + "/faketime", "+10m")
    record.later.append(record.world.restart)


# cause[:variant] -> (who is hit, on which Samba a failure shows, what it does, how)
CAUSES = {
    "dc.unreachable": ("domain", "both", "the DC is stopped: connection refused", stopped),
    "dc.unreachable:frozen": ("domain", "both", "the DC's processes are stopped (SIGSTOP): it accepts connections and says nothing", frozen),
    "dc.tls_untrusted": ("domain", "both", "the certificate comes from another CA (restarts the DC)", certificate(other_ca=True)),
    "dc.tls_expired": ("domain", "both", "the certificate expired yesterday (restarts the DC)", certificate(expired=True)),
    "dc.tls_name_mismatch": ("domain", "both", "the certificate is for other.example (restarts the DC)", certificate(name="other.example")),
    "dc.clock_skew": ("domain", "both", "the DC's clock is ten minutes ahead, by libfaketime (restarts the DC)", clock_skew),
}
