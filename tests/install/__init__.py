"""What is installed with the gateway: services, image, manifests."""
