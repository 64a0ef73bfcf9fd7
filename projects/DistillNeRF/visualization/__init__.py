"""Pictures: colors of depth, panels, trajectories of new cameras, PNG and MP4 files."""
