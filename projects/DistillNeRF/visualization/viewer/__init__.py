"""A scene in the browser: free flight through what the network renders, with cameras and occupied cells around it."""
