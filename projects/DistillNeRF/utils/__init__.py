"""What everything else uses: errors, files, stand-ins and compatibility."""
