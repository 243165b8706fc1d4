"""What is computed in which loop: anchors, fusion, loop spaces, the memory plan."""
