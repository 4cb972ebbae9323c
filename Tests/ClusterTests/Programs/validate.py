"""Validates manifests against the API's own schemas, unknown fields refused: `validate.py VERSION… <MANIFEST`.

Prints one line for each finding, and the number of objects for each version."""
import sys

import kubernetes_validate
import yaml

objects = [one for one in yaml.safe_load_all(sys.stdin) if one]
# Custom resources have no schema there.
objects = [one for one in objects if not one["apiVersion"].startswith("monitoring.coreos.com/")]
for version in sys.argv[1:]:
    for one in objects:
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except Exception as error:  # the module has one class for each way to be wrong
            print(f"{version} {one['kind']} {one['metadata']['name']}: {str(error).splitlines()[0]}")
    print(f"{version}: {len(objects)} objects")
