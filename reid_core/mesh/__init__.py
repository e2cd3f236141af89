"""Body meshes: model, rendering of guidance maps, cache."""
