"""What the server says of itself."""

from __future__ import annotations

from trine.server.mlflow.calls import Call, Json, route

VERSION = "3.17.2"
"""The version of MLflow whose interface this is."""


@route("GET server-info")
def server_info(_: Call) -> Json:
    """What clients ask first: what they may use."""
    return {
        "store_type": "SqlStore",
        "workspaces_enabled": True,
        "trace_archival_enabled": False,
        "multipart_uploads_enabled": True,
        "multipart_downloads_enabled": False,
        "presigned_upload_run_id_supported": False,
        "presigned_upload_model_id_supported": False,
        "features_enabled": {"gateway": False},
    }
