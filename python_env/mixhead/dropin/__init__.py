"""What the drop-in heads share: mixtures by name, their prototypes in this process, their plugin."""
