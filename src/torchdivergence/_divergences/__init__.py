"""The declaration of each divergence. It knows no devices and no backends."""
