"""Serves a studio that believes who somebody says they are, in a process of its own: `named_studio.py PORT`.

With ATELIER_PASSWORD it asks for that instead.
"""

import sys

from app.serving import options_behind_door, page_for
from app.sign_in import sign_in_for
from app.traffic import Traffic
from backend.settings import Settings
from backend.studio import Studio
from tests.app.test_ownership import Named

if __name__ == "__main__":
    settings = Settings()
    studio = Studio.connect(settings)
    sign_in = sign_in_for(settings) if settings.atelier_password.get_secret_value() else Named()
    page, options = page_for(studio, sign_in), options_behind_door(studio, sign_in, settings, Traffic())
    page.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True, **options)
