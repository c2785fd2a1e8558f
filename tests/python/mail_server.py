"""A mail server that keeps nothing: prints each message that it was handed as a line of JSON, then takes it.

    mail_server.py PORT DELAY [CERTIFICATE KEY]

PORT 0 takes a free one. The first line is the port. DELAY is how many seconds it thinks about a message, once it has
printed it. Addresses that begin with "reject" are refused for good. With a certificate it speaks TLS from the first byte
and takes mail only from the user "rollcall" with the password "p@ss".
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    def __init__(self, delay):
        self.delay = delay

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("reject"):
            return "550 5.1.1 <%s> is not known here" % address
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        told = {
            "from": envelope.mail_from,
            "recipients": envelope.rcpt_tos,
            "headers": {name.lower(): str(value) for name, value in message.items()},
            "text": message.get_content(),
        }
        print(json.dumps(told), flush=True)
        await asyncio.sleep(self.delay)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"rollcall", b"p@ss"))


async def main():
    port, delay = int(sys.argv[1]), float(sys.argv[2])
    context, options = None, {}
    if len(sys.argv) > 3:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
        options = {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}
    handler = Handler(delay)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, enable_SMTPUTF8=True, **options), "127.0.0.1", port, ssl=context
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
