"""The Robot webservice: Hetzner's API for dedicated servers, over the same durable state as the cloud's."""
