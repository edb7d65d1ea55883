"""Models and the devices that they run on. Nothing here knows a step, a recipe or a store."""
